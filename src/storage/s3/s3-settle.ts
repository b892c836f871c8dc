/** Settles what became of a blob whose write has failed: S3 may have it all the same, from this write or from another. */
import type { BlobIdentity, CallOptions, ObjectInfo, PutBlobResult, PutCondition } from "../object-store.ts";
import {
  type S3Call,
  blobDamaged,
  isAbsent,
  isLostRace,
  isUndecided,
  isUploadGone,
  storeUnavailable,
  wasRetried,
} from "./s3-errors.ts";
import { holds } from "./s3-headers.ts";

export interface SettleBlobWriteOptions extends CallOptions {
  readonly blob: BlobIdentity;
  /** That of the write. */
  readonly condition: PutCondition;
  /** What failed, for the message. */
  readonly call: S3Call;
  /** Looks at what lies under the blob's key now. */
  readonly look: () => Promise<ObjectInfo | undefined>;
}

/**
 * Decides by what is there: the same blob, a damaged one (`STORE_DAMAGED`), or none (`STORE_UNAVAILABLE`). A damaged object
 * that was to be replaced may have the blob's size: while its ETag is the same, nothing was written.
 */
export async function settleBlobWrite(
  error: unknown,
  { blob, condition, call, look, signal }: SettleBlobWriteOptions,
): Promise<PutBlobResult["outcome"]> {
  signal?.throwIfAborted();
  const mayBeThere = isLostRace(error) || isUploadGone(error) || isAbsent(error) || isUndecided(error);
  const found = mayBeThere ? await look() : undefined;
  const isAsBefore = condition !== "absent" && holds(condition, found);
  if (found?.size === blob.size && !isAsBefore) return wasRetried(error) ? "written" : "present";
  if (found === undefined || isAsBefore) throw storeUnavailable(error, call);
  throw blobDamaged({ ...blob, url: call.url }, found.size, error);
}
