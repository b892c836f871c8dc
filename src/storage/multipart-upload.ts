/** Uploads an object in parts, for R2's uploads and S3's copies. lib-storage does neither. */
import { concurrently } from "../streams/concurrently.ts";

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
 * Sends the pieces, at most `maxPending` at a time, and completes the upload. After an error of the pieces or of the
 * bucket, waits for the requests that still run and aborts the upload. Then it rejects with the first error.
 */
export async function uploadParts<Piece, Part>(
  upload: MultipartUpload<Piece, Part>,
  pieces: Iterable<readonly [index: number, piece: Piece]> | AsyncIterable<readonly [index: number, piece: Piece]>,
  maxPending: number,
): Promise<"written" | "conflict"> {
  const abort = async (): Promise<void> => void (await upload.abort().catch(() => undefined));
  try {
    const parts: Part[] = [];
    await concurrently(pieces, maxPending, async ([index, piece]) => {
      parts[index] = await upload.send(piece, index + 1);
    });
    const outcome = await upload.complete(parts);
    if (outcome === "conflict") await abort();
    return outcome;
  } catch (error) {
    await abort();
    throw error;
  }
}

/** The largest number of parts of an upload to S3 or R2. */
const maxParts = 10_000;

/** Bytes of each part of an object of unknown length: 10,000 parts are 58 GiB. */
const blindPartBytes = 6 * 1024 * 1024;

/** Bytes of each part except the last: `least`, or more if the object would otherwise need too many parts. */
export function partBytesOf(size: number | undefined, least: number): number {
  return Math.max(least, size === undefined ? blindPartBytes : Math.ceil(size / maxParts));
}
