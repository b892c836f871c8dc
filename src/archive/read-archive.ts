/**
 * Reads a tarball from front to back, once: its entries come out in the order in which they arrive, each with its body
 * as a stream. Reading waits for whoever takes the entries, and so does the sender.
 */
import { pipeline } from "node:stream";
import { extract as createExtract } from "tar-stream";
import { StowageError, messageOf } from "../errors.ts";
import { decompress } from "./decompress.ts";

const blockBytes = 512;

/** V7's headers have no magic, only a checksum. */
const extractOptions = { allowUnknownFormat: true, highWaterMark: 64 * 1024 };

/** Bytes of a path at most: as much as most file systems take. */
const maxPathLength = 4096;

export interface ArchiveEntry {
  /** The path as it stands in the archive, without any `./` in front. */
  readonly path: string;
  /** What tar calls it: `file`, `directory`, `symlink`, … */
  readonly type: string;
  /** Where a `symlink` leads from its own folder, or a `link`, a hard one, from the top of the archive. */
  readonly linkTarget: string | undefined;
  /** Length of the body in bytes. */
  readonly size: number;
  /** To be read to its end before the next entry is asked for, or not at all: then it is skipped. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface ReadArchiveOptions {
  /** Entries of the archive, directories included. */
  readonly maxEntries: number;
}

/**
 * Yields the entries of a tarball, plain or compressed (POSIX.1-2001 "pax", with ustar's, GNU's and V7's variants).
 * Throws `ARCHIVE_INVALID` if it is none, is damaged or cut short, and `LIMIT_EXCEEDED`.
 */
export async function* readArchive(
  source: AsyncIterable<Uint8Array>,
  { maxEntries }: ReadArchiveOptions,
): AsyncGenerator<ArchiveEntry> {
  const place: Place = { received: 0, sourceEnded: false, entries: 0, path: undefined, end: 0 };
  const extract = createExtract(extractOptions);
  let failure: unknown;
  pipeline(tarBytes(source, place), extract, (error) => (failure = error));
  const explain = (error: unknown): unknown => asArchiveError(failure ?? error, place);
  try {
    for await (const entry of extract) {
      const { name, type, size, linkname: linkTarget } = entry.header;
      const bodyBytes = type === "directory" ? 0 : size;
      const path = name.replace(/^(?:\.\/+)+/, "");
      if (path.length > maxPathLength) throw tooLongPath(path);
      place.path = path;
      place.end = entry.offset + blockBytes + Math.ceil(bodyBytes / blockBytes) * blockBytes;
      if (++place.entries > maxEntries) throw tooManyEntries(maxEntries);
      yield { path, type: type ?? "unknown", linkTarget, size: bodyBytes, body: bodyOf(entry, explain) };
      entry.resume();
    }
  } catch (error) {
    throw explain(error);
  }
  // Cut between two entries, an archive would look whole, were it not for the block of zeros that ends it.
  if (place.received < place.end + blockBytes) throw cutShort(place);
}

/** What tar-stream throws in the middle of a body says no more than that it was destroyed. */
async function* bodyOf(
  entry: AsyncIterable<unknown>,
  explain: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of entry) yield chunk as Uint8Array;
  } catch (error) {
    throw explain(error);
  }
}

/** How far the reading has come. */
interface Place {
  /** Bytes of tar that have arrived. */
  received: number;
  sourceEnded: boolean;
  entries: number;
  /** The entry that was read last, and where it ends. */
  path: string | undefined;
  end: number;
}

async function* tarBytes(source: AsyncIterable<Uint8Array>, place: Place): AsyncGenerator<Uint8Array> {
  for await (const chunk of await decompress(source)) {
    place.received += chunk.length;
    yield chunk;
  }
  place.sourceEnded = true;
}

/** Tells what tar-stream found from errors of the source, which pass as they are. */
function asArchiveError(error: unknown, place: Place): unknown {
  if (!(error instanceof Error) || error instanceof StowageError) return error;
  if (!/^(?:Invalid|Header)/.test(error.message)) return place.sourceEnded ? cutShort(place) : error;
  const where = place.path === undefined ? "its first entry" : `what follows "${place.path}"`;
  return new StowageError("ARCHIVE_INVALID", `Cannot read ${where} in the archive: ${messageOf(error)}`, {
    cause: error,
  });
}

function cutShort({ received, path, end }: Place): StowageError {
  const where = path === undefined ? "before its first entry" : `in or after "${path}"`;
  return new StowageError(
    "ARCHIVE_INVALID",
    `Cannot read the archive: it is cut short ${where}, ${received} bytes arrived, ` +
      `expected at least ${end + blockBytes} with the end-of-archive block`,
    { detail: { received, expected: end + blockBytes } },
  );
}

function tooLongPath(path: string): StowageError {
  const start = JSON.stringify(path.slice(0, 100));
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot read the archive: a path of ${path.length} characters starts with ${start}, at most ${maxPathLength} are allowed`,
  );
}

function tooManyEntries(maxEntries: number): StowageError {
  return new StowageError("LIMIT_EXCEEDED", `Cannot read the archive: more than ${maxEntries} entries (maxEntries)`, {
    detail: { limit: "maxEntries", expected: maxEntries },
  });
}
