/** Reads a small blob whole and compares its bytes with its digest: every reader of a manifest goes through here. */
import { createHash } from "node:crypto";
import { StowageError } from "../errors.ts";
import type { StoreReader } from "../storage/object-store.ts";
import { type ReadSmallOptions, readSmallObject } from "../storage/read-small-object.ts";
import { blobKey } from "./keys.ts";

/**
 * The bytes of a blob, or undefined if it is not there. Throws `STORE_DAMAGED` if the bytes have another digest, and
 * `LIMIT_EXCEEDED` if there are too many of them.
 */
export async function readSmallBlob(
  store: StoreReader,
  digest: string,
  options: ReadSmallOptions,
): Promise<Uint8Array | undefined> {
  const object = await readSmallObject(store, blobKey(digest), options);
  if (object === undefined) return undefined;
  const found = `sha256:${createHash("sha256").update(object.bytes).digest("hex")}`; // a manifest takes some microseconds
  if (found === digest) return object.bytes;
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read blob "${digest}": the store's copy is damaged, its ${object.bytes.length} bytes have digest "${found}"`,
    { detail: { digest, found } },
  );
}
