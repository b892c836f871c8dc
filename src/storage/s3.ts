/** The package's entry `stowage/s3`: a bucket as a store, and its clients. Only this entry loads the AWS SDK. */
export { createS3Client } from "./s3/s3-client.ts";
export { createPresignClient } from "./s3/s3-presigner.ts";
export { S3Store, type S3StoreOptions } from "./s3/s3-store.ts";
