/**
 * Reads a tarball once, from front to back. The entries come in the order of the archive, each with its body as a
 * stream. The archive is read only as fast as the caller takes the entries. So a slow caller slows the sender down.
 *
 * Stowage has its own reader because libraries accept too much: a number that is cut short, bytes behind the end, and
 * extended headers of any size.
 */
import { StowageError, limitExceeded, quote } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { ByteReader, PeekableBytes } from "../streams/byte-reader.ts";
import { type ExpandOptions, decompress } from "./decompress.ts";
import { entryPath } from "./entry-path.ts";
import { TarExtensions, isTarExtension, sparse } from "./tar-extensions.ts";
import { type TarHeader, blockBytes, decodeHeader, invalidTar, unsupportedTar, wholeBlocks } from "./tar-header.ts";
import { expectZeros, isZeros } from "./trailing-zeros.ts";

export interface ArchiveEntry {
  /**
   * The path in the archive, without `.` and `..`, and without a slash at its start and end. Empty for the top
   * directory and for a volume's label.
   */
  readonly path: string;
  readonly type: EntryType;
  /**
   * The target of a link. The target of a `symlink` is relative to the link's folder. The target of a `link` (a hard
   * link) is relative to the top of the archive.
   */
  readonly linkTarget: string | undefined;
  /** The name of a volume. It is not a path, even if it looks like one. */
  readonly label?: string;
  /** Length of the body in bytes. */
  readonly size: number;
  /** The caller reads the body before it asks for the next entry. The bytes that it has not read then are skipped. */
  readonly body: PeekableBytes;
}

/** The types by the flag in the header. All other flags are `unknown`. */
const types = {
  "0": "file",
  "1": "link",
  "2": "symlink",
  "3": "character-device",
  "4": "block-device",
  "5": "directory",
  "6": "fifo",
  "7": "contiguous-file",
  V: "volume-label",
} as const;

export type EntryType = (typeof types)[keyof typeof types] | "unknown";

const typesWithBody: ReadonlySet<EntryType> = new Set<EntryType>(["file", "contiguous-file", "unknown"]);

export interface ReadArchiveOptions extends ExpandOptions, Pick<Limits, "maxEntries" | "maxPaxBytes"> {}

/**
 * Yields the entries of a tarball, plain or compressed (POSIX.1-2001 "pax", with the variants of ustar, GNU and V7).
 * Throws:
 *
 * - `ARCHIVE_INVALID` if the input is not a tarball, is damaged or cut short, has bytes behind its end, or has a path
 *   that leads out of the archive;
 * - `UNSUPPORTED` for sparse files and archives of several volumes;
 * - `LIMIT_EXCEEDED`.
 */
export async function* readArchive(
  source: AsyncIterable<Uint8Array>,
  options: ReadArchiveOptions,
): AsyncGenerator<ArchiveEntry> {
  const reader = await decompress(source, options);
  const { maxEntries, maxPaxBytes } = options;
  const extensions = new TarExtensions(maxPaxBytes);
  let entries = 0;
  let last: string | undefined;
  const cutShort = (missing: number): StowageError => cutShortAfter(last, reader.position, missing);
  try {
    for (;;) {
      const header = await readHeader(reader, last);
      if (header === undefined) break;
      const where = whereIs(last);
      if (isTarExtension(header)) {
        await extensions.read(header, reader.stream(header.size, cutShort), where);
        await reader.skip(wholeBlocks(header.size) - header.size, cutShort);
        continue;
      }
      if (++entries > maxEntries) {
        throw limitExceeded(`Cannot read the archive: it has ${entries} entries or more`, {
          limit: "maxEntries",
          expected: maxEntries,
        });
      }
      const entry = toEntry({ ...header, ...extensions.next(where) }, where);
      last = entry.path;
      const end = reader.position + wholeBlocks(entry.size);
      yield { ...entry, body: reader.stream(entry.size, cutShort) };
      await reader.skip(end - reader.position, cutShort);
    }
    if (extensions.arePending) throw invalidTar(whereIs(last), "an extended header stands before no entry");
    await expectZeros(reader, "the end of the tar");
  } finally {
    // Not awaited: a stalled source would not answer.
    reader.close().catch(() => undefined);
  }
}

/** Names a place in the archive for messages, by the entry before that place. */
function whereIs(last: string | undefined): string {
  return last === undefined ? "its first entry" : `what follows ${quote(last)}`;
}

/** The next header. Undefined at the block of zeros that ends a tar. A tar without that block was cut short. */
async function readHeader(reader: ByteReader, last: string | undefined): Promise<TarHeader | undefined> {
  const block = await reader.read(blockBytes);
  if (block.length < blockBytes) throw cutShortAfter(last, reader.position, blockBytes - block.length);
  return isZeros(block) ? undefined : decodeHeader(block, whereIs(last));
}

function toEntry({ name, typeFlag, size, linkTarget }: TarHeader, where: string): Omit<ArchiveEntry, "body"> {
  if (typeFlag === "S") throw sparse(where);
  if (typeFlag === "M") throw unsupportedTar(where, "it goes on from another volume; expected an archive in one piece");
  const hasNames = typeFlag === "D"; // a directory of GNU's incremental backups, whose body has names
  const isDirectory = hasNames || (typeFlag === "0" && name.endsWith("/")); // V7 marks a directory by the slash
  const type = isDirectory ? "directory" : isKnownType(typeFlag) ? types[typeFlag] : "unknown";
  if (type === "volume-label") return { path: "", type, size, linkTarget: undefined, label: name };
  const path = entryPath(name, where);
  if (path === "" && type !== "directory") throw invalidTar(where, `found a ${type} without a name`);
  if (size > 0 && !hasNames && !typesWithBody.has(type)) {
    throw invalidTar(where, `found a ${type} of ${size} bytes, expected none`);
  }
  return { path, type, size, linkTarget };
}

function isKnownType(typeFlag: string): typeFlag is keyof typeof types {
  return typeFlag in types;
}

function cutShortAfter(last: string | undefined, received: number, missing: number): StowageError {
  const where = last === undefined ? "before its first entry" : `in or after ${quote(last)}`;
  const expected = received + missing;
  return new StowageError(
    "ARCHIVE_INVALID",
    `Cannot read the archive: it is cut short ${where}, ${received} bytes of tar arrived, expected at least ${expected}`,
    { detail: { received, expected } },
  );
}
