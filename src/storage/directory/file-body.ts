/** The bytes of an open file, or of a range of it. */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { StowageError } from "../../errors.ts";
import { checkedBody } from "../checked-body.ts";
import type { CallOptions } from "../object-store.ts";
import { guarded } from "./file-errors.ts";

/** Length of the chunks. */
export const fileReadBytes = 256 * 1024;
/** Length of the first one; each is twice as long as the one before. Servers read several chunks ahead of a slow client. */
const firstReadBytes = 32 * 1024;

export interface FileRange extends CallOptions {
  readonly start: number;
  /** The first byte that is not read any more. */
  readonly stop: number;
  /** For messages: what is being done, such as `read "index.json" in file:./data`. */
  readonly doing: string;
}

/**
 * Closes the file with the last byte, when the reader leaves, or when the signal fires: also if no reader ever comes. A reader
 * that comes after the signal gets its reason.
 */
export function readFileBody(file: FileHandle, { start, stop, doing, signal }: FileRange): AsyncIterable<Uint8Array> {
  let position = start;
  let readBytes = firstReadBytes;
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    signal?.removeEventListener("abort", onAbort);
    await file.close();
  };
  const onAbort = (): void => void close().catch(() => undefined);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort);

  const read = async (): Promise<Uint8Array> => {
    const chunk = Buffer.allocUnsafe(Math.min(readBytes, stop - position));
    readBytes = Math.min(2 * readBytes, fileReadBytes);
    const { bytesRead } = await guarded(doing, () => file.read(chunk, 0, chunk.length, position));
    position += bytesRead;
    if (bytesRead > 0) return chunk.subarray(0, bytesRead);
    const message = `Cannot ${doing}: it ends after ${position} bytes, expected ${stop}`;
    throw new StowageError("STORE_DAMAGED", message);
  };
  return checkedBody({
    next: async () => {
      signal?.throwIfAborted();
      const value = isClosed || position >= stop ? undefined : await read();
      if (position >= stop) await close();
      return value === undefined ? { done: true, value } : { done: false, value };
    },
    size: Math.max(0, stop - start),
    close,
    fail: (error) => {
      throw error;
    },
  });
}
