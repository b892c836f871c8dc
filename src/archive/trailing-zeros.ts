/**
 * Zeros may follow the end of a tar or of a compressed stream: programs fill the rest of a block or a tape with zeros.
 */
import { StowageError } from "../errors.ts";
import type { ByteReader } from "../streams/byte-reader.ts";

/**
 * Reads to the end. Throws `ARCHIVE_INVALID` at the first byte that is not zero. `end` names the place before the zeros
 * in messages.
 */
export async function expectZeros(reader: ByteReader, end: string): Promise<void> {
  for await (const chunk of reader.stream()) if (!isZeros(chunk)) throw bytesAfter(end);
}

export function isZeros(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** The error for bytes after the end. */
export function bytesAfter(end: string): StowageError {
  const message = `Cannot read the archive: other bytes follow ${end}; expected nothing, or zeros that fill it up`;
  return new StowageError("ARCHIVE_INVALID", message);
}
