/** Lists what is in a bucket, in pages of 1,000 that are asked for as they are needed. */
import { type S3Client, paginateListObjectsV2 } from "@aws-sdk/client-s3";
import type { CallOptions, ObjectInfo } from "../object-store.ts";
import { type S3Call, storeUnavailable } from "./s3-errors.ts";
import { infoOf } from "./s3-headers.ts";
import { withSignal } from "./s3-signal.ts";

export interface ListOptions extends CallOptions {
  readonly client: S3Client;
  readonly bucket: string;
  /** Of the store: left out of the keys. */
  readonly storePrefix: string;
  readonly call: S3Call;
}

/** Yields the objects whose keys, without `storePrefix`, start with `prefix`. */
export async function* listS3Objects(
  prefix: string,
  { client, bucket, storePrefix, call, signal }: ListOptions,
): AsyncGenerator<ObjectInfo> {
  const input = { Bucket: bucket, Prefix: storePrefix + prefix };
  try {
    for await (const { Contents = [] } of paginateListObjectsV2({ client: withSignal(client, signal) }, input)) {
      for (const { Key = "", Size, ETag } of Contents) {
        yield infoOf({ key: Key.slice(storePrefix.length), size: Size, etag: ETag }, call);
      }
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw storeUnavailable(error, call);
  }
}
