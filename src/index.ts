/** What the package offers to other programs: the service as a Hono app, loading by itself, and the stores. */
export { type ErrorCode, StowageError } from "./errors.ts";
export { type AppOptions, createApp } from "./http/app.ts";
export { type Limits, defaultLimits } from "./limits.ts";
export { type LoadOptions, loadArchive } from "./load/load-archive.ts";
export type { BlobReceipt, IgnoredEntry, ImageReceipt, Receipt } from "./load/receipt.ts";
export { openStore } from "./open-store.ts";
export { guardStore } from "./storage/guard-store.ts";
export type * from "./storage/object-store.ts";
export { ByteBudget } from "./streams/byte-budget.ts";
