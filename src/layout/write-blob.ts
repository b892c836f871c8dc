/**
 * Writes blobs under their digests. A store knows only keys and bytes. After a `conflict`, this file compares the
 * existing object with the blob: it is the same blob, or a damaged object.
 */
import { algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { BlobIdentity } from "../oci/descriptor.ts";
import { looksLikeManifest } from "../oci/manifest.ts";
import { hashObject } from "../storage/hash-object.ts";
import {
  type ObjectInfo,
  type ObjectStore,
  type PutCondition,
  type TakeMore,
  type WriteResult,
  answered,
} from "../storage/object-store.ts";
import { getBlob } from "./blobs.ts";
import { blobKey } from "./keys.ts";

/** `repaired`: the store had a damaged object under this digest. The blob has replaced it. */
export type BlobStatus = "written" | "present" | "repaired";

interface VerifiedBlob extends BlobIdentity {
  /** Verified bytes in memory, or a stream that throws before its last bytes if the blob is wrong (`VerifiedBytes`). */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

/** Where a blob goes. */
export interface BlobTarget {
  readonly store: ObjectStore;
  readonly signal?: AbortSignal | undefined;
  /** Memory for more parts of a large blob at once. */
  readonly takeMore?: TakeMore | undefined;
  /** Reads every blob that is present, to find damage. */
  readonly repair?: boolean | undefined;
}

type Send = (key: string, condition: PutCondition) => Promise<WriteResult["outcome"]>;

/** Creates the blob, or replaces a damaged object, unless it is present. */
export async function writeBlob(blob: VerifiedBlob, state: BlobState, options: BlobTarget): Promise<BlobStatus> {
  const { store, signal, takeMore } = options;
  const { digest, size, body } = blob;
  return settleBlob(blob, state, options, async (key, condition) => {
    if (!(body instanceof Uint8Array)) {
      return (await store.write(key, { size, body }, { condition, signal, takeMore })).outcome;
    }
    const answer = answered(await store.put(key, body, { condition, digest, signal }));
    return answer === "conflict" ? answer : "written";
  });
}

/**
 * Like `writeBlob`, but the store copies the blob from another object. The caller has hashed the bytes of that object.
 */
export async function copyToBlob(
  from: string,
  blob: BlobIdentity,
  state: BlobState,
  options: BlobTarget,
): Promise<BlobStatus> {
  const { store, signal } = options;
  const { digest, size } = blob;
  return settleBlob(blob, state, options, async (key, condition) => {
    return (await store.copy(from, key, { size, digest, condition, signal })).outcome;
  });
}

/**
 * Sends the write. Throws `STORE_UNAVAILABLE` if the store cannot tell whether the write was done. After a conflict,
 * looks at the existing object: the same blob, a damaged object, or none.
 */
async function settleBlob(
  { digest, size }: BlobIdentity,
  state: BlobState,
  { store, signal }: BlobTarget,
  send: Send,
): Promise<BlobStatus> {
  if (state === "present") return state;
  const key = blobKey(digest);
  const { replaces } = state;
  const outcome = await send(key, replaces === undefined ? "absent" : { etag: replaces });
  if (outcome === "written") return replaces === undefined ? "written" : "repaired";
  const found = await store.head(key, { signal });
  if (found?.size === size && found.etag !== replaces) return "present";
  const failed = `Cannot store blob "${digest}" in ${store.url}`;
  if (found === undefined || found.etag === replaces) {
    throw new StowageError("STORE_UNAVAILABLE", `${failed}: others write or delete it at the same time`);
  }
  throw new StowageError("STORE_DAMAGED", `${failed}: an object of ${found.size} bytes lies there, expected ${size}`, {
    detail: { digest, found: found.size, expected: size },
  });
}

/** `replaces`: the ETag of a damaged object. Undefined if there is no object. */
type BlobState = "present" | { readonly replaces: string | undefined };

/**
 * Decides whether a load can rely on the object under a blob's digest. `found` is the answer to a HEAD: a wrong size
 * shows most damage. A manifest is small and defines the image. So a load that has the bytes of a manifest in memory
 * reads the store's copy and checks its digest. Other blobs are read only with `repair`.
 */
export async function findBlobState(
  { digest, size }: BlobIdentity,
  found: ObjectInfo | undefined,
  { store, signal, repair = false }: BlobTarget,
  bytes?: Uint8Array,
): Promise<BlobState> {
  if (found?.size !== size) return { replaces: found?.etag };
  if (!repair && (bytes === undefined || !looksLikeManifest(bytes))) return "present";
  const object = await getBlob(store, digest, { signal });
  if (object === undefined) return { replaces: undefined };
  const hashed = await hashObject(object, algorithmOf(digest), { signal });
  return hashed.digest === digest ? "present" : { replaces: object.etag };
}
