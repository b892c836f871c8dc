/**
 * Reads the headers that come before an entry's own header: pax's extended headers and GNU's long names. These
 * extensions hold values that do not fit into the own header. Each extension is read whole into memory. So one limit is
 * for each extension, and another is for all extensions of an archive together.
 */
import { type StowageError, limitExceeded, quote } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { checkLength } from "./entry-path.ts";
import { type TarHeader, decodeText, invalidTar, unsupportedTar } from "./tar-header.ts";

/**
 * Bytes of one extension. Go's tar reader has the same limit. An extension is parsed in one step, which takes a few
 * milliseconds.
 */
const maxExtensionBytes = 1024 * 1024;

/** The values of an extension. They replace those of the entry's own header. */
interface TarExtension {
  readonly name?: string;
  readonly linkTarget?: string;
  /** Length of the body in bytes. */
  readonly size?: number;
}

/**
 * `x` is pax's header for one entry (`X` in Solaris), `g` pax's header for all later entries, `L` GNU's long name, `K`
 * GNU's long target of a link.
 */
const extensionFlags = "xXgLK";

export function isTarExtension({ typeFlag }: TarHeader): boolean {
  return extensionFlags.includes(typeFlag);
}

/** The extensions of one archive. Each belongs to the next entry, except pax's global header. */
export class TarExtensions {
  readonly #maxBytes: number;
  readonly #pending = new Map<string, TarExtension>();
  #bytes = 0;

  /** `maxBytes` limits all extensions of the archive together (`maxPaxBytes`). */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Was an extension read whose entry has not come yet? */
  get arePending(): boolean {
    return this.#pending.size > 0;
  }

  /**
   * Reads the body of an extension. Throws `ARCHIVE_INVALID` if it is malformed, or if the entry has another extension
   * of the same kind. Throws `UNSUPPORTED` for a sparse file, and `LIMIT_EXCEEDED`.
   */
  async read({ typeFlag, size }: TarHeader, body: AsyncIterable<Uint8Array>, where: string): Promise<void> {
    const kind = typeFlag === "X" ? "x" : typeFlag;
    if (this.#pending.has(kind)) throw invalidTar(where, `two extended headers of type "${typeFlag}" stand in a row`);
    this.#checkBytes(size, where);
    const extension = parseExtension(kind, await collectBytes(body, size), where);
    if (kind !== "g") this.#pending.set(kind, extension); // a global header belongs to no single entry
  }

  /** The values of the extensions for the next entry. Throws `ARCHIVE_INVALID` if pax's and GNU's values differ. */
  next(where: string): TarExtension {
    const { K: target, L: name, x: pax } = Object.fromEntries(this.#pending);
    this.#pending.clear();
    const gnu: TarExtension = { ...target, ...name };
    checkSame(pax?.name, gnu.name, where);
    checkSame(pax?.linkTarget, gnu.linkTarget, where);
    return { ...gnu, ...pax };
  }

  #checkBytes(size: number, where: string): void {
    if (size > maxExtensionBytes) {
      throw limitExceeded(`Cannot read ${where} in the archive: an extended header has ${size} bytes`, {
        found: size,
        expected: maxExtensionBytes,
      });
    }
    this.#bytes += size;
    if (this.#bytes <= this.#maxBytes) return;
    throw limitExceeded(
      `Cannot read ${where} in the archive: its extended headers have ${this.#bytes} bytes together`,
      {
        limit: "maxPaxBytes",
        found: this.#bytes,
        expected: this.#maxBytes,
      },
    );
  }
}

/**
 * Throws if the two values differ. GNU's tar would use the value of pax, Go's reader the value of GNU. Other programs
 * would use the first value or the last.
 */
function checkSame(pax: string | undefined, gnu: string | undefined, where: string): void {
  if (pax === undefined || gnu === undefined || pax === gnu) return;
  const found = `pax's extended header says ${quote(pax, 100)}, and GNU's ${quote(gnu, 100)}`;
  throw invalidTar(where, `${found}; expected the same`);
}

function parseExtension(kind: string, bytes: Uint8Array, where: string): TarExtension {
  if (kind === "L") return { name: checkLength(withoutZeros(bytes), "path") };
  if (kind === "K") return { linkTarget: checkLength(withoutZeros(bytes), "link's target") };
  const pax = parsePax(bytes, where);
  if (kind !== "g" || Object.keys(pax).length === 0) return pax;
  throw invalidTar(where, `a global extended header sets the ${Object.keys(pax).join(" and ")} of all entries`);
}

function withoutZeros(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return decodeText(bytes.subarray(0, end));
}

/**
 * Parses records `<length> <key>=<value>\n`. The length is that of the whole record in bytes. Keys are compared as
 * bytes, and only the last value of a key is decoded: a header of 1 MiB can have 200,000 records, and an archive can
 * have dozens of such headers.
 */
function parsePax(bytes: Uint8Array, where: string): TarExtension {
  const values = new Map<string, Uint8Array>();
  for (let at = 0; at < bytes.length;) {
    const { space, end } = recordAt(bytes, at, where);
    const equals = equalsIn(bytes, space, end);
    if (equals === undefined) throw invalidTar(where, "a record of its extended header has no value");
    const key = knownKeys.find((known) => isKeyAt(bytes, { start: space + 1, equals }, known));
    if (key?.isSparse === true) throw sparse(where);
    if (key !== undefined) values.set(key.name, bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  const [name, linkTarget, size] = ["path", "linkpath", "size"].map((key) => decodeText(values.get(key) ?? noBytes));
  return {
    ...(name && { name: checkLength(name, "path") }), // an empty value means that the value in the own header counts
    ...(linkTarget && { linkTarget: checkLength(linkTarget, "link's target") }),
    ...(size && { size: parseSize(size, where) }),
  };
}

const noBytes = new Uint8Array(0);

interface KnownKey {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Do all keys with this beginning match? */
  readonly isPrefix: boolean;
  /** Does the key, with any value, mark a sparse file? */
  readonly isSparse: boolean;
}

function knownKey(name: string, { isPrefix = false, isSparse = false } = {}): KnownKey {
  return { name, bytes: new TextEncoder().encode(name), isPrefix, isSparse };
}

const knownKeys: readonly KnownKey[] = [
  knownKey("path"),
  knownKey("linkpath"),
  knownKey("size"),
  knownKey("GNU.sparse.", { isPrefix: true, isSparse: true }),
  knownKey("SCHILY.realsize", { isSparse: true }),
];

/** Digits of a record's length: a record is not longer than its header. */
const maxLengthDigits = 7;

/** The position of the space behind a record's length, and of the end of the record. */
function recordAt(bytes: Uint8Array, at: number, where: string): { readonly space: number; readonly end: number } {
  let length = 0;
  for (let space = at; space <= at + maxLengthDigits; space++) {
    const byte = bytes[space] ?? 0;
    if (byte >= 0x30 && byte <= 0x39) length = length * 10 + (byte - 0x30);
    else if (byte === 0x20 && at + length > space && bytes[at + length - 1] === 0x0a)
      return { space, end: at + length };
    else break;
  }
  throw invalidTar(where, "the length of a record in its extended header is wrong");
}

/** The position of the `=` behind the record's key. */
function equalsIn(bytes: Uint8Array, space: number, end: number): number | undefined {
  for (let at = space; at < end; at++) if (bytes[at] === 0x3d) return at;
  return undefined;
}

function isKeyAt(bytes: Uint8Array, { start, equals }: Key, known: KnownKey): boolean {
  const length = known.bytes.length;
  if (known.isPrefix ? equals - start < length : equals - start !== length) return false;
  for (let i = 0; i < length; i++) if (bytes[start + i] !== known.bytes[i]) return false;
  return true;
}

interface Key {
  readonly start: number;
  readonly equals: number;
}

function parseSize(text: string, where: string): number {
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  throw invalidTar(where, `its size is ${quote(text, 100)}, expected a whole number of bytes from 0 to 2^53-1`);
}

export function sparse(where: string): StowageError {
  const expected = "whole files, as GNU's tar writes them without --sparse, and bsdtar with --no-read-sparse";
  return unsupportedTar(where, `it is a sparse file; expected ${expected}`);
}
