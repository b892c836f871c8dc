/** Makes an object of parts: the loop for what lib-storage does not do, which are R2's uploads and the copies of S3. */
import { concurrently } from "../streams/concurrently.ts";

/** An upload that a bucket has opened. */
export interface MultipartUpload<Piece, Part> {
  /** Sends one piece. Parts are numbered from 1 on. */
  send(piece: Piece, partNumber: number): Promise<Part>;
  /** Makes the object, unless that would be a conflict. */
  complete(parts: readonly Part[]): Promise<"written" | "conflict">;
  /** Forgets the parts. A bucket forgets an upload that could not be aborted after some days. */
  abort(): Promise<unknown>;
}

/**
 * Sends the pieces, at most `maxPending` at a time, and completes the upload. Rejects with the first error, of the pieces or of
 * the bucket, once nothing is under way any more. Leaves no upload open.
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

/** S3 and R2 take no more parts in one upload. */
const maxParts = 10_000;

/** Bytes of each part but the last: `least`, or more for an object that would need too many parts. */
export function partBytesOf(size: number, least: number): number {
  return Math.max(least, Math.ceil(size / maxParts));
}
