/**
 * Brings one blob of a load into the store, unless it is there. A small blob is held in memory: a HEAD on its key runs
 * while its bytes are read, and its write goes on behind the reading. A large one is streamed part by part:
 *
 *     the archive's entry -> VerifiedBytes, holds back the last chunk and tells the end, so that the reading goes on
 *                         -> store.write -> lib-storage, up to four parts under way
 */
import type { ByteBudget } from "../streams/byte-budget.ts";
import type { PeekableBytes } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { Release } from "../streams/line.ts";
import { VerifiedBytes, checkDigest, checkSize, digestOf } from "../streams/verify-bytes.ts";
import { blobKey } from "./keys.ts";
import { type BlobStatus, type BlobTarget, findDamage, writeBlob } from "./write-blob.ts";

export interface IncomingBlob {
  /** `sha256:<64 hex>`, as the archive claims. */
  readonly digest: string;
  /** Length in bytes, as the archive claims. */
  readonly size: number;
  readonly body: PeekableBytes;
}

export interface StoreBlobOptions extends BlobTarget {
  readonly budget: ByteBudget;
  /** The caller for whom memory is held. */
  readonly caller?: string | undefined;
  readonly signal: AbortSignal;
}

/** A blob that has been read. The store may not have it yet. */
export interface TakenBlob {
  /** The bytes of a blob that was held in memory. */
  readonly bytes?: Uint8Array;
  readonly stored: Promise<BlobStatus>;
}

/**
 * Reads the blob to its end and verifies every byte, also of a blob that the store has: the store's contents do not decide
 * whether a tarball is taken. The call, or `stored`, rejects with `SIZE_INVALID` or `DIGEST_INVALID`, or with what the body throws.
 */
export async function storeBlob(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  return blob.size <= options.store.partBytes ? storeWhole(blob, options) : storeStreamed(blob, options);
}

async function storeWhole(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, signal } = options;
  const release = await holdFor(blob.body, blob.size, options);
  const found = store.head(blobKey(blob.digest), { signal });
  found.catch(() => undefined); // the HEAD may fail before its answer is awaited
  let bytes: Uint8Array;
  try {
    bytes = await collectBytes(blob.body, blob.size);
    checkSize(blob, bytes.length);
  } catch (error) {
    await found.catch(() => undefined);
    release();
    throw error;
  }
  const write = async (): Promise<BlobStatus> => {
    const [present, digest] = await Promise.all([found, digestOf(bytes)]);
    checkDigest(blob, digest);
    const state = await findDamage(blob, present, options, bytes);
    return writeBlob({ ...blob, body: bytes }, state, options);
  };
  return { bytes, stored: write().finally(release) };
}

async function storeStreamed(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, signal } = options;
  const state = await findDamage(blob, await store.head(blobKey(blob.digest), { signal }), options);
  if (state === "present") {
    await new VerifiedBytes(blob.body, blob).drain();
    return { stored: Promise.resolve("present") };
  }
  const release = await holdFor(blob.body, store.writeBufferBytes(blob.size), options);
  const body = new VerifiedBytes(blob.body, blob);
  const stored = writeBlob({ ...blob, body }, state, options).finally(release);
  const first = await Promise.race([body.ended, stored]); // the archive is read on while the last parts are going out
  if (first !== undefined) throw new Error(`${store.url} did not read blob "${blob.digest}" to its end`);
  return { stored };
}

/** Takes memory for a blob once its first byte has come. The header of an entry, which only promises bytes, holds none. */
export async function holdFor(
  body: PeekableBytes,
  bytes: number,
  { budget, caller, signal }: StoreBlobOptions,
): Promise<Release> {
  await body.peek(1);
  return budget.take(bytes, { caller, signal });
}
