/**
 * One header block of a tar, read strictly: what readers of tars understand in different ways is refused.
 *
 *     0 name 100 | 124 size 12 | 148 checksum 8 | 156 type 1 | 157 link's target 100 | 257 magic 6 | 345 prefix 155
 */
import { StowageError } from "../errors.ts";

/** Headers are one block long, bodies are filled up to whole blocks (POSIX.1-2001 "pax", 4.18). */
export const blockBytes = 512;

export interface TarHeader {
  readonly name: string;
  /** One character: `0` is a file, `x` an extended header, … */
  readonly typeFlag: string;
  /** Length of the body in bytes. */
  readonly size: number;
  readonly linkTarget: string | undefined;
}

/**
 * Decodes a block of `blockBytes` (ustar's, GNU's or V7's, which has no magic). `where` names its place in messages.
 * Throws `ARCHIVE_INVALID` if its checksum or its size is wrong.
 */
export function decodeHeader(block: Uint8Array, where: string): TarHeader {
  if (!hasTarChecksum(block)) throw invalidTar(where, "it is no header of a tar: its checksum is wrong");
  const name = textIn(block, 0, 100);
  const prefix = textIn(block, 257, 263) === "ustar" && block[262] === 0 ? textIn(block, 345, 500) : "";
  const typeFlag = String.fromCharCode(block[156] || 0x30); // V7 and some after it leave a file's type out
  const size = numberIn(block.subarray(124, 136), where);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    typeFlag,
    size: typeFlag === "5" ? 0 : size, // of a directory it says how much that may hold; all readers find no body
    linkTarget: textIn(block, 157, 257) || undefined,
  };
}

/** A header carries the sum of its own bytes; the eight that hold it count as spaces. Some old tars took them as signed. */
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

/** The error that an archive is not as it should be at some place. */
export function invalidTar(where: string, reason: string): StowageError {
  return new StowageError("ARCHIVE_INVALID", `Cannot read ${where} in the archive: ${reason}`);
}

/** The error that an archive is not one of a kind that is taken. */
export function unsupportedTar(where: string, reason: string): StowageError {
  return new StowageError("UNSUPPORTED", `Cannot read ${where} in the archive: ${reason}`);
}

function textIn(block: Uint8Array, start: number, end: number): string {
  const field = block.subarray(start, end);
  const zero = field.indexOf(0);
  return decodeText(zero === -1 ? field : field.subarray(0, zero));
}

/** A byte order mark stays: it is part of a name, which is another without it. */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** Octal digits or, with the first bit set, a binary number in the rest of the bytes (GNU's and star's base-256). */
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

/** Digits between spaces and zero bytes; none at all mean 0. */
function octalIn(field: Uint8Array): number | undefined {
  const [, digits] = /^[ \0]*([0-7]*)[ \0]*$/.exec(new TextDecoder("latin1").decode(field)) ?? [];
  return digits === undefined ? undefined : Number.parseInt(`0${digits}`, 8);
}

function quoted(field: Uint8Array): string {
  return JSON.stringify(new TextDecoder("latin1").decode(field));
}
