/** Between the words of `ObjectStore` and S3's headers: conditions, ETags, sizes. */
import type { ObjectInfo, PutCondition } from "../object-store.ts";
import { type S3Call, storeUnavailable } from "./s3-errors.ts";

/** An ETag goes out without quotes: Ceph 16 compares it so, and all others take it. */
export function conditionHeaders(condition: PutCondition): { IfNoneMatch: string } | { IfMatch: string } {
  return condition === "absent" ? { IfNoneMatch: "*" } : { IfMatch: condition.etag };
}

/** Would a write on this condition be taken in the state that was found? */
export function holds(condition: PutCondition, found: ObjectInfo | undefined): boolean {
  return condition === "absent" ? found === undefined : found?.etag === condition.etag;
}

/** What the store said of an object, where it said all. */
export function infoOf(
  said: { key: string; size: number | undefined; etag: string | undefined },
  call: S3Call,
): ObjectInfo {
  const { key, size, etag } = said;
  if (size === undefined || etag === undefined) {
    throw storeUnavailable(new Error(`Found size ${size} and ETag ${etag} in its answer, expected both`), call);
  }
  return { key, size, etag: etag.replace(/^"|"$/g, "") };
}

/** The size of the whole object, from `Content-Range: bytes 0-9/100`. */
export function sizeOfRanged(contentRange: string | undefined): number | undefined {
  const size = /\/(\d+)$/.exec(contentRange ?? "")?.[1];
  return size === undefined ? undefined : Number(size);
}
