/** The package's entry `stowage/r2`: a bucket of R2, bound to a Worker, as a store. */
export type { R2Bucket } from "./r2/r2-bucket.ts";
export { R2Store, type R2StoreOptions } from "./r2/r2-store.ts";
