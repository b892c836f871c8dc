/**
 * Brings one blob of a load into the store, unless it is there. A small blob is held in memory: a HEAD on its key runs
 * while its bytes are read, and its write goes on behind the reading. A large one is streamed part by part:
 *
 *     the archive's entry -> verifyBytes, holds back the last chunk -> tellEnd, lets the reading go on
 *                         -> store.write -> lib-storage, up to four parts under way
 */
import type { ObjectStore } from "../storage/object-store.ts";
import { afterFirstChunk } from "../streams/abortable.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { Release } from "../streams/line.ts";
import { checkDigest, checkSize, digestOf, verifyBytes } from "../streams/verify-bytes.ts";
import { blobKey } from "./keys.ts";
import { type BlobStatus, findDamage, writeBlob } from "./write-blob.ts";

export interface IncomingBlob {
  /** `sha256:<64 hex>`, as the archive claims. */
  readonly digest: string;
  /** Length in bytes, as the archive claims. */
  readonly size: number;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface StoreBlobOptions {
  readonly store: ObjectStore;
  readonly budget: ByteBudget;
  /** Whom memory is held for. */
  readonly caller?: string | undefined;
  readonly signal: AbortSignal;
  /** Reads the blobs that the store has, and writes those again that are damaged. */
  readonly repair?: boolean | undefined;
}

/** A blob that has been read; the store may not have it yet. */
export interface TakenBlob {
  /** Its bytes, where they are in memory anyway. */
  readonly bytes?: Uint8Array;
  readonly stored: Promise<BlobStatus>;
}

/**
 * Reads the blob to its end and verifies every byte, also of one that the store has: whether a tarball is taken does
 * not depend on what was there before. It, or `stored`, rejects with `SIZE_INVALID` or `DIGEST_INVALID`, or with what the
 * body throws.
 */
export async function storeBlob(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  return blob.size <= options.store.partBytes ? storeWhole(blob, options) : storeStreamed(blob, options);
}

async function storeWhole(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, signal } = options;
  const { body, release } = await holdFor(blob, blob.size, options);
  const found = store.head(blobKey(blob.digest), { signal });
  found.catch(() => undefined); // it may fail before anybody waits for it
  let bytes: Uint8Array;
  try {
    bytes = await collectBytes(body, blob.size);
    checkSize(blob, bytes.length);
  } catch (error) {
    await found.catch(() => undefined);
    release();
    throw error;
  }
  const write = async (): Promise<BlobStatus> => {
    const [present, digest] = await Promise.all([found, digestOf(bytes)]);
    checkDigest(blob, digest);
    const state = await findDamage(blob, present, { ...options, bytes });
    return writeBlob({ ...blob, body: bytes }, state, options);
  };
  return { bytes, stored: write().finally(release) };
}

async function storeStreamed(blob: IncomingBlob, options: StoreBlobOptions): Promise<TakenBlob> {
  const { store, signal } = options;
  const state = await findDamage(blob, await store.head(blobKey(blob.digest), { signal }), options);
  if (state === "present") {
    for await (const _ of verifyBytes(blob.body, blob));
    return { stored: Promise.resolve("present") };
  }
  const { body, release } = await holdFor(blob, store.writeBufferBytes(blob.size), options);
  const { source, ended } = tellEnd(verifyBytes(body, blob));
  const stored = writeBlob({ ...blob, body: source }, state, options).finally(release);
  const first = await Promise.race([ended, stored]); // the archive can be read on while the last parts are going out
  if (first !== "ended") throw new Error(`${store.url} did not read blob "${blob.digest}" to its end`);
  return { stored };
}

export interface HeldBody {
  /** To be read instead of the blob's own body. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly release: Release;
}

/** Takes memory for a blob once its first byte has come: a header alone, which promises bytes, holds none. */
export async function holdFor(
  { body }: Pick<IncomingBlob, "body">,
  bytes: number,
  { budget, caller, signal }: StoreBlobOptions,
): Promise<HeldBody> {
  const begun = await afterFirstChunk(body);
  return { body: begun, release: await budget.take(bytes, { caller, signal }) };
}

interface WatchedSource {
  readonly source: AsyncIterable<Uint8Array>;
  /** Resolves once the source has been read to its end. */
  readonly ended: Promise<"ended">;
}

/** Written out rather than as a generator: every byte passes here, and each generator on its way costs time. */
function tellEnd(body: AsyncIterable<Uint8Array>): WatchedSource {
  let tell: () => void = () => undefined;
  const ended = new Promise<"ended">((resolve) => (tell = () => resolve("ended")));
  const chunks = body[Symbol.asyncIterator]();
  const source: AsyncIterableIterator<Uint8Array> = {
    [Symbol.asyncIterator]: () => source,
    async next() {
      const next = await chunks.next();
      if (next.done === true) tell();
      return next;
    },
    return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
  };
  return { source, ended };
}
