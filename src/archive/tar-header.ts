/**
 * Reads one header block of a tar. If programs could read a value in different ways, the header is refused.
 *
 *     0 name 100 | 124 size 12 | 148 checksum 8 | 156 type 1 | 157 link's target 100 | 257 magic 6 | 345 prefix 155
 */
import { StowageError } from "../errors.ts";

/** A header is one block long. A body is filled up to whole blocks (POSIX.1-2001 "pax", 4.18). */
export const blockBytes = 512;

/** Two blocks of zeros end a tar. */
export const endBytes = 2 * blockBytes;

/** Bytes that a body of this length takes in a tar. */
export function wholeBlocks(bytes: number): number {
  return Math.ceil(bytes / blockBytes) * blockBytes;
}

export interface TarHeader {
  readonly name: string;
  /** One character: `0` is a file, `x` an extended header, … */
  readonly typeFlag: string;
  /** Length of the body in bytes. */
  readonly size: number;
  readonly linkTarget: string | undefined;
}

/**
 * Decodes a block of `blockBytes` in the format of ustar, GNU or V7 (which has no magic). `where` names its place in
 * messages. Throws `ARCHIVE_INVALID` if the checksum or the size is wrong.
 */
export function decodeHeader(block: Uint8Array, where: string): TarHeader {
  if (!hasTarChecksum(block)) throw invalidTar(where, "it is no header of a tar: its checksum is wrong");
  const name = textIn(block, 0, 100);
  const prefix = textIn(block, 257, 263) === "ustar" && block[262] === 0 ? textIn(block, 345, 500) : "";
  const typeFlag = String.fromCharCode(block[156] || 0x30); // V7 and some later programs write no type for a file
  const size = numberIn(block.subarray(124, 136), where);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    typeFlag,
    size: typeFlag === "5" ? 0 : size, // the size of a directory is a limit for its content, and no body follows
    linkTarget: textIn(block, 157, 257) || undefined,
  };
}

/**
 * Is the checksum right? It is the sum of the header's bytes, with its own eight bytes as spaces. Some old programs
 * added the bytes as signed numbers.
 */
export function hasTarChecksum(block: Uint8Array): boolean {
  if (block.length < blockBytes) return false;
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < blockBytes; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  const claimed = octalIn(block.subarray(148, 156));
  return claimed === unsigned || claimed === signed;
}

/** The error for an archive that is wrong at this place. */
export function invalidTar(where: string, reason: string): StowageError {
  return new StowageError("ARCHIVE_INVALID", `Cannot read ${where} in the archive: ${reason}`);
}

/** The error for an archive of a kind that Stowage does not accept. */
export function unsupportedTar(where: string, reason: string): StowageError {
  return new StowageError("UNSUPPORTED", `Cannot read ${where} in the archive: ${reason}`);
}

function textIn(block: Uint8Array, start: number, end: number): string {
  const field = block.subarray(start, end);
  const zero = field.indexOf(0);
  return decodeText(zero === -1 ? field : field.subarray(0, zero));
}

/** Decodes UTF-8. A byte order mark stays: it is part of the name. */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/**
 * Reads octal digits, or a binary number in the rest of the field if the first bit is set (base-256 of GNU and star).
 */
function numberIn(field: Uint8Array, where: string): number {
  const first = field[0] ?? 0;
  if (first < 0x80) {
    const size = octalIn(field);
    if (size !== undefined) return size;
    throw invalidTar(where, `its size is ${quoted(field)}, expected octal digits`);
  }
  if (first >= 0xc0) throw invalidTar(where, "its size is negative");
  const size = field.subarray(1).reduce((total, byte) => total * 256 + byte, first & 0x3f);
  if (Number.isSafeInteger(size)) return size;
  throw invalidTar(where, "its size is beyond 2^53 bytes");
}

/** Reads the octal digits between spaces and zero bytes. A field without digits is 0. */
function octalIn(field: Uint8Array): number | undefined {
  const [, digits] = /^[ \0]*([0-7]*)[ \0]*$/.exec(new TextDecoder("latin1").decode(field)) ?? [];
  return digits === undefined ? undefined : Number.parseInt(`0${digits}`, 8);
}

function quoted(field: Uint8Array): string {
  return JSON.stringify(new TextDecoder("latin1").decode(field));
}
