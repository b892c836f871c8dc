/** Reads every blob of a store and compares its bytes with its name. */
import { type Digest, algorithmOf } from "../digest.ts";
import { type ErrorCode, StowageError } from "../errors.ts";
import { blobsPrefix, digestOfBlobKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { type HashedObject, hashObject } from "../storage/hash-object.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";

/** Blobs that are read at the same time, each chunk by chunk. */
const maxConcurrentBlobs = 16;
/** If more blobs than this cannot be read, the store itself fails. */
const maxUnreadable = 100;

/** How a store is verified. */
export interface VerifyOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with each problem as soon as it is found. */
  readonly onProblem?: ((problem: Problem) => void) | undefined;
  /** Called once before the first read, with the number of bytes that will be read. */
  readonly onStart?: ((totalBytes: number) => void) | undefined;
  /** Called with the number of bytes that have just been read. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface VerifiedBlobs {
  /** Sizes in bytes of the blobs that are whole, by digest. Memory grows with their number, not with their bytes. */
  readonly sizes: ReadonlyMap<Digest, number>;
  /** Keys of blobs that are not what their name says. */
  readonly damaged: ReadonlySet<string>;
}

/** Throws `STORE_UNAVAILABLE` if the store cannot be listed, or if blob after blob cannot be read. */
export async function verifyBlobs({ store }: Layout, options: VerifyOptions): Promise<VerifiedBlobs> {
  const { signal, onProblem } = options;
  const keys: string[] = [];
  let totalBytes = 0;
  for await (const { key, size } of store.list(blobsPrefix, { signal })) {
    keys.push(key);
    totalBytes += size;
  }
  options.onStart?.(totalBytes);

  const sizes = new Map<Digest, number>();
  const damaged = new Set<string>();
  let unreadable = 0;
  await concurrently(keys, maxConcurrentBlobs, async (key) => {
    signal?.throwIfAborted();
    try {
      const found = await verifyBlob(store, key, options);
      if (found !== undefined) sizes.set(found.digest, found.size);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof StowageError)) throw error;
      if (error.code === "STORE_UNAVAILABLE" && ++unreadable > maxUnreadable) throw error;
      damaged.add(key);
      onProblem?.({ where: key, code: error.code, message: error.message });
    }
  });
  return { sizes, damaged };
}

/** Undefined if the blob has been deleted in the meantime. */
async function verifyBlob(store: ObjectStore, key: string, options: VerifyOptions): Promise<HashedObject | undefined> {
  const digest = digestOfBlobKey(key);
  if (digest === undefined) throw new StowageError("DIGEST_INVALID", "its name is not a digest");
  const { signal } = options;
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  const found = await hashObject(object, algorithmOf(digest), options);
  if (found.size !== object.size) {
    throw new StowageError("SIZE_INVALID", `it has ${found.size} bytes, the store says ${object.size}`);
  }
  if (found.digest !== digest) {
    throw new StowageError("DIGEST_INVALID", `its ${found.size} bytes have the digest ${found.digest}`);
  }
  return found;
}

/** One thing that is wrong with a store. */
export interface Problem {
  /** The key of an object, or an image as `repository:tag` or `repository@digest`. */
  readonly where: string;
  readonly code: ErrorCode;
  readonly message: string;
}

/** A blob that images need and that is missing or damaged. A tarball that has the blob repairs these images. */
export interface LackedBlob {
  readonly digest: Digest;
  readonly state: "missing" | "damaged";
  /** The images that need the blob, as `repository:tag` or `repository@digest`. At most 1000 are listed. */
  readonly images: readonly string[];
}
