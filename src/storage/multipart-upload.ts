/** Uploads an object in parts: a stream of bytes, or ranges of another object. */
import { concurrently } from "../streams/concurrently.ts";
import type { WatchedSource } from "../streams/watched-source.ts";
import type { WriteResult } from "./object-store.ts";
import type { FilledPart, PartMemory } from "./part-memory.ts";

/** An upload that a bucket has opened. */
export interface MultipartUpload<Piece, Part> {
  /** Sends one piece. Parts are numbered from 1 on. */
  send(piece: Piece, partNumber: number): Promise<Part>;
  /** Makes the object, if the condition holds. */
  complete(parts: readonly Part[]): Promise<"written" | "conflict">;
  /** Deletes the parts. If this fails, the bucket itself deletes the upload after some days. */
  abort(): Promise<unknown>;
}

/**
 * Sends the pieces, at most `maxPending` at a time, and completes the upload. After an error, waits for the running
 * requests, aborts the upload, and rejects with the first error.
 */
export async function uploadParts<Piece, Part>(
  upload: MultipartUpload<Piece, Part>,
  pieces: Iterable<readonly [index: number, piece: Piece]>,
  maxPending: number,
): Promise<"written" | "conflict"> {
  try {
    const parts: Part[] = [];
    await concurrently(pieces, maxPending, async ([index, piece]) => {
      parts[index] = await upload.send(piece, index + 1);
    });
    const outcome = await upload.complete(parts);
    if (outcome === "conflict") await abortQuietly(upload);
    return outcome;
  } catch (error) {
    await abortQuietly(upload);
    throw error;
  }
}

/** How a store writes a stream. */
interface StreamUpload<Part> {
  /** Is the stream surely longer than a part? Then the upload is opened while the first part is filled. */
  readonly isLarge: boolean;
  /** Writes a stream that fits into one part. */
  readonly put: (bytes: Uint8Array) => Promise<WriteResult>;
  readonly open: () => Promise<MultipartUpload<Uint8Array, Part>>;
}

/**
 * Reads the stream to its end and writes it. As many parts are sent at the same time as `memory` has room for: a store
 * that is fast needs few, and one that answers late needs many. The last part is sent only after the stream has ended
 * without an error. After an error of the stream or of the store, waits for the requests that still run and aborts the
 * upload. Then it rejects with the first error.
 */
export async function uploadStream<Part>(
  chunks: WatchedSource,
  memory: PartMemory,
  { isLarge, put, open }: StreamUpload<Part>,
): Promise<WriteResult> {
  let opened: Promise<MultipartUpload<Uint8Array, Part>> | undefined;
  let failure: { readonly error: unknown } | undefined;
  const parts: Part[] = [];
  const sending: Promise<void>[] = [];
  const fail = (error: unknown): void => {
    failure ??= { error };
    void chunks.return(); // ends the wait for a source that stalls
  };
  const openOnce = async (): Promise<MultipartUpload<Uint8Array, Part>> => (opened ??= open());
  const send = async ({ index, bytes, free }: FilledPart): Promise<void> => {
    try {
      const upload = await openOnce();
      if (failure === undefined) parts[index] = await upload.send(bytes, index + 1);
      free(true);
    } catch (error) {
      fail(error);
      free(false);
    }
  };
  if (isLarge) openOnce().catch(fail);
  try {
    for await (const part of memory.fill(chunks)) {
      const isWhole = part.index === 0 && part.isLast;
      if (isWhole && !isLarge) return await putWhole(part, put);
      sending.push(send(part));
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(sending);
  const upload = await opened?.catch(() => undefined);
  try {
    if (failure !== undefined) throw failure.error;
    const outcome = await (await openOnce()).complete(parts);
    if (outcome === "conflict") await abortQuietly(upload);
    return { outcome, parts: parts.length };
  } catch (error) {
    await abortQuietly(upload);
    throw error;
  }
}

async function putWhole({ bytes, free }: FilledPart, put: StreamUpload<unknown>["put"]): Promise<WriteResult> {
  let isSent = false;
  try {
    const result = await put(bytes);
    isSent = true;
    return result;
  } finally {
    free(isSent);
  }
}

async function abortQuietly<Piece, Part>(upload: MultipartUpload<Piece, Part> | undefined): Promise<void> {
  await upload?.abort().catch(() => undefined);
}

/** The largest number of parts of an upload to S3 or R2. */
const maxParts = 10_000;

/** Bytes of each part of an object of unknown length: 10,000 parts are 58 GiB. */
const blindPartBytes = 6 * 1024 * 1024;

/** Bytes of each part except the last: `least`, or more if the object would otherwise need too many parts. */
export function partBytesOf(size: number | undefined, least: number): number {
  return Math.max(least, size === undefined ? blindPartBytes : Math.ceil(size / maxParts));
}
