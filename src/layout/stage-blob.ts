/**
 * Reads a blob whose digest is known only at its end. A small blob is held in memory. A large blob lies under `staging/` while
 * it is hashed. The store then copies it to its digest:
 *
 *     the archive's entry -> hashed -> store.write staging/<uuid> -> store.copy blobs/sha256/<hex> -> store.delete
 */
import { type Digest, Digester, digestOf } from "../digest.ts";
import type { PeekableBytes } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { headBlob } from "./blobs.ts";
import { stagingPrefix } from "./keys.ts";
import { type StoreBlobOptions, holdFor } from "./store-blob.ts";
import { type BlobStatus, copyToBlob, findBlobState, writeBlob } from "./write-blob.ts";

export interface UnnamedBlob {
  /** Length in bytes. */
  readonly size: number;
  readonly body: PeekableBytes;
}

/** A blob that has been read. The caller calls either `keep` or `drop`, once. */
interface HashedBlob {
  readonly digest: Digest;
  /** Stores the blob, unless the store has it. */
  readonly keep: () => Promise<BlobStatus>;
  /** Frees the memory of the blob, or deletes its staged object. */
  readonly drop: () => Promise<void>;
}

/**
 * Reads the blob to its end. Rejects with the error of the body or of the store. After an error nothing stays under `staging/`.
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
    const digest = await digestOf(bytes);
    const write = async (): Promise<BlobStatus> => {
      const blob = { digest, size, body: bytes };
      const state = await findBlobState(blob, await headBlob(store, digest, { signal }), options, bytes);
      return writeBlob(blob, state, options);
    };
    return { digest, keep: () => write().finally(release), drop: async () => release() };
  } catch (error) {
    release();
    throw error;
  }
}

async function stageBlob(blob: UnnamedBlob, options: StoreBlobOptions): Promise<HashedBlob> {
  const { size } = blob;
  const { store, budget, caller, signal } = options;
  const key = stagingPrefix + crypto.randomUUID();
  // Without the signal: a load that has been aborted must still delete its staged object. If the deletion fails, the object
  // expires.
  const drop = async (): Promise<void> => void (await store.delete(key).catch(() => undefined));
  const release = await holdFor(blob.body, store.writeBufferBytes(size), options);
  const digester = new Digester();
  const body = new WatchedSource(blob.body).watch({ onChunk: (chunk) => void digester.update(chunk) });
  try {
    await store.write(key, { size, body }, { signal });
  } catch (error) {
    await drop(); // the object may be there although its answer was lost
    throw error;
  } finally {
    release();
  }
  const digest = digester.digest();
  const promote = async (): Promise<BlobStatus> => {
    const state = await findBlobState({ digest, size }, await headBlob(store, digest, { signal }), options);
    if (state === "present") return state;
    const releaseAgain = await budget.take(store.copyBufferBytes(size), { caller, signal });
    return copyToBlob(key, { digest, size }, state, options).finally(releaseAgain);
  };
  const keep = async (): Promise<BlobStatus> => {
    try {
      return await promote();
    } finally {
      await drop();
    }
  };
  return { digest, keep, drop };
}
