/** What follows the end of a tar, or of a compressed stream, may fill up a block or a tape, and is zeros then. */
import { StowageError } from "../errors.ts";

/** Reads to the end. Throws `ARCHIVE_INVALID` at the first byte that is not zero. `end` is what it follows. */
export async function expectZeros(source: AsyncIterable<Uint8Array>, end: string): Promise<void> {
  for await (const chunk of source) if (!isZeros(chunk)) throw bytesAfter(end);
}

export function isZeros(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** The error that something stands where nothing should be any more. */
export function bytesAfter(end: string): StowageError {
  const message = `Cannot read the archive: other bytes follow ${end}; expected nothing, or zeros that fill it up`;
  return new StowageError("ARCHIVE_INVALID", message);
}
