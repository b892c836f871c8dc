/**
 * Reads a blob whose digest is known only at its end. A small blob is held in memory. A large blob lies under
 * `staging/` while it is hashed. The store then copies it to its digest:
 *
 *     the archive's entry -> hashed -> store.write staging/<uuid> -> store.copy blobs/<algorithm>/<hex> -> store.delete
 */
import { type Algorithm, type Digest, Digester, digestOf } from "../digest.ts";
import type { BlobIdentity } from "../oci/descriptor.ts";
import type { PeekableBytes } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { headBlob } from "./blobs.ts";
import { stagingPrefix } from "./keys.ts";
import { type StoreBlobOptions, holdFor, moreFor } from "./store-blob.ts";
import { type BlobStatus, copyToBlob, findBlobState, writeBlob } from "./write-blob.ts";

export interface UnnamedBlob {
  /** Length in bytes. */
  readonly size: number;
  readonly body: PeekableBytes;
  /** The algorithm of its digest, by default SHA-256. */
  readonly algorithm?: Algorithm | undefined;
}

/** A blob that has been read. The caller calls either `store` or `drop`, once. */
interface HashedBlob {
  readonly digest: Digest;
  /** Stores the blob, unless the store has it. */
  readonly store: () => Promise<BlobStatus>;
  /** Frees the memory of the blob, or deletes its staged object. */
  readonly drop: () => Promise<void>;
}

/**
 * Reads the blob to its end. Rejects with the error of the body or of the store. After an error nothing stays under
 * `staging/`.
 */
export async function hashBlob(blob: UnnamedBlob, options: StoreBlobOptions): Promise<HashedBlob> {
  return blob.size <= options.store.partBytes ? holdBlob(blob, options) : stageBlob(blob, options);
}

async function holdBlob(unnamed: UnnamedBlob, options: StoreBlobOptions): Promise<HashedBlob> {
  const { size } = unnamed;
  const { store, signal } = options;
  const release = await holdFor(unnamed.body, size, options);
  try {
    const bytes = await collectBytes(unnamed.body, size);
    const digest = await digestOf(bytes, unnamed.algorithm);
    const write = async (): Promise<BlobStatus> => {
      const blob = { digest, size, body: bytes };
      const state = await findBlobState(blob, await headBlob(store, digest, { signal }), options, bytes);
      return writeBlob(blob, state, options);
    };
    return { digest, store: () => write().finally(release), drop: async () => release() };
  } catch (error) {
    release();
    throw error;
  }
}

async function stageBlob(blob: UnnamedBlob, options: StoreBlobOptions): Promise<HashedBlob> {
  const key = stagingPrefix + crypto.randomUUID();
  const { digest, size } = await stageBytes(key, blob, options);
  const drop = async (): Promise<void> => dropStaged(key, options);
  const store = async (): Promise<BlobStatus> => {
    try {
      return await promoteStaged(key, { digest, size }, options);
    } finally {
      await drop();
    }
  };
  return { digest, store, drop };
}

/** Bytes on their way to `staging/`. */
interface UnhashedBytes extends Pick<UnnamedBlob, "body" | "algorithm"> {
  /** Length in bytes. Undefined if it is not known: then the caller has limited the body. */
  readonly size: number | undefined;
}

/**
 * A body of unknown length that is not longer than this is read first. It then takes only the memory for its length.
 */
const smallBytes = 64 * 1024;

/**
 * Writes bytes under a key of `staging/`, and hashes them on their way. Rejects with the error of the body or of the
 * store. After an error nothing stays under the key.
 */
export async function stageBytes(
  key: string,
  { size: announced, body: source, algorithm }: UnhashedBytes,
  options: StoreBlobOptions,
): Promise<BlobIdentity> {
  const { store, signal } = options;
  const size = announced ?? (await lengthIfSmall(source));
  const release = await holdFor(source, store.writeBufferBytes(size), options);
  const digester = new Digester(algorithm);
  const watched = new WatchedSource(source);
  const body = watched.watch({ onChunk: (chunk) => void digester.update(chunk) });
  try {
    await store.write(key, { size, body }, { signal, takeMore: moreFor(options) });
  } catch (error) {
    await dropStaged(key, options); // the object may be there although its answer was lost
    throw error;
  } finally {
    release();
  }
  return { digest: digester.digest(), size: watched.bytes };
}

async function lengthIfSmall(body: PeekableBytes): Promise<number | undefined> {
  const { length } = await body.peek(smallBytes + 1);
  return length <= smallBytes ? length : undefined;
}

/** Stores staged bytes under their digest, unless the store has the blob. The staged object may be gone afterwards. */
export async function promoteStaged(
  key: string,
  { digest, size }: BlobIdentity,
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store, budget, caller, signal } = options;
  const state = await findBlobState({ digest, size }, await headBlob(store, digest, { signal }), options);
  if (state === "present") return state;
  const release = await budget.take(store.copyBufferBytes(size), { caller, signal });
  return copyToBlob(key, { digest, size }, state, options).finally(release);
}

/**
 * Deletes a staged object. Without the signal: work that has been aborted must still delete it. If the deletion fails,
 * the object expires.
 */
export async function dropStaged(key: string, { store }: Pick<StoreBlobOptions, "store">): Promise<void> {
  await store.delete(key).catch(() => undefined);
}
