/**
 * Stores one blob of a load, a push or a copy, unless the store has it. A small blob is held in memory. A HEAD on its
 * key runs while its bytes are read. A load reads the next entry while the blob is written. A large blob is streamed
 * part by part:
 *
 *     the archive's entry -> VerifiedBytes, holds back the last chunk, and tells when the next entry can be read
 *                         -> store.write, on S3 in parts, as many at once as there is memory for (`storage/s3/s3-write.ts`)
 */
import type { Digest, Hasher } from "../digest.ts";
import type { TakeMore } from "../storage/object-store.ts";
import type { ByteBudget, TakeOptions } from "../streams/byte-budget.ts";
import type { PeekableBytes } from "../streams/byte-reader.ts";
import type { Release } from "../streams/line.ts";
import { type CollectedBlob, VerifiedBytes, collectBlob } from "../streams/verify-bytes.ts";
import { headBlob } from "./blobs.ts";
import { type BlobStatus, type BlobTarget, findBlobState, writeBlob } from "./write-blob.ts";

export interface IncomingBlob {
  /** As the archive claims. */
  readonly digest: Digest;
  /** Length in bytes, as the archive claims. */
  readonly size: number;
  /**
   * Of a `PeekableBytes`, memory is taken when its first byte has come: it comes from a client, or from the source of a
   * copy. For other bytes, which come from the own store, memory is taken before they are read.
   */
  readonly body: PeekableBytes | AsyncIterable<Uint8Array>;
}

export interface StoreBlobOptions extends BlobTarget, Pick<TakeOptions, "caller" | "givesWay"> {
  readonly budget: ByteBudget;
  /** Hashes blobs of 256 KiB and more. By default this thread does. */
  readonly hasher?: Hasher | undefined;
  readonly signal: AbortSignal;
}

/** A blob that has been read. Its write may still be under way. */
interface TakenBlob {
  /** The bytes of a blob that was held in memory. */
  readonly bytes?: Uint8Array;
  readonly stored: Promise<BlobStatus>;
}

/**
 * Reads the blob to its end and verifies every byte, even if the store has the blob: the store's contents must not
 * decide whether a tarball is valid. The call, or `stored`, rejects with `SIZE_INVALID` or `DIGEST_INVALID`, or with
 * the error of the body.
 */
export async function storeBlob(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  return blob.size <= options.store.partBytes ? storeWhole(blob, options) : storeStreamed(blob, options);
}

/**
 * Small blobs of all loads that may be on their way into the store. Each of their requests takes a connection, and
 * memory beside the blob's bytes. So each blob counts for at least one part in `maxHeldBlobs` of the memory, and
 * callers share the memory.
 */
const maxHeldBlobs = 256;

/** The messages to another thread take as long as hashing some 64 KiB. */
const leastThreadBytes = 256 * 1024;

async function storeWhole(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, hasher, signal } = options;
  const leastBytes = Math.ceil(options.budget.maxBytes / maxHeldBlobs);
  const release = await holdFor(blob.body, Math.max(blob.size, leastBytes), options);
  const found = headBlob(store, blob.digest, { signal });
  found.catch(() => undefined); // the HEAD may fail before its answer is awaited
  let collected: CollectedBlob;
  try {
    collected = await collectBlob(blob.body, blob, blob.size < leastThreadBytes ? undefined : hasher);
  } catch (error) {
    await found.catch(() => undefined);
    release();
    throw error;
  }
  const { bytes, verified } = collected;
  const write = async (): Promise<BlobStatus> => {
    await verified;
    const state = await findBlobState(blob, await found, options, bytes);
    return writeBlob({ ...blob, body: bytes }, state, options);
  };
  return { bytes, stored: write().finally(release) };
}

async function storeStreamed(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, hasher, signal } = options;
  const state = await findBlobState(blob, await headBlob(store, blob.digest, { signal }), options);
  if (state === "present") {
    await new VerifiedBytes(blob.body, blob, hasher).drain();
    return { stored: Promise.resolve("present") };
  }
  const release = await holdFor(blob.body, store.writeBufferBytes(blob.size), options);
  const body = new VerifiedBytes(blob.body, blob, hasher);
  const stored = writeBlob({ ...blob, body }, state, { ...options, takeMore: moreFor(options) }).finally(release);
  const first = await Promise.race([body.ended, stored]); // the load reads the next entry while the last parts are sent
  if (first !== undefined) throw new Error(`${store.url} did not read blob "${blob.digest}" to its end`);
  return { stored };
}

/**
 * Takes memory for a blob, once its first byte has come. An entry's header alone takes none: the bytes may never come.
 */
export async function holdFor(
  body: IncomingBlob["body"],
  bytes: number,
  { budget, caller, signal, givesWay }: StoreBlobOptions,
): Promise<Release> {
  if ("peek" in body) await body.peek(1);
  return budget.take(bytes, { caller, signal, givesWay });
}

/** Takes memory for more parts of a large blob, as long as no other request waits for memory. */
export function moreFor({ budget, caller }: Pick<StoreBlobOptions, "budget" | "caller">): TakeMore {
  return (bytes) => budget.tryTake(bytes, { caller });
}
