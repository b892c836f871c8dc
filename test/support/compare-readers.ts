/**
 * Reads an archive with Stowage's reader and with tar-stream's `extract`, and names the difference. Every difference has a row
 * of this name in docs/architecture.md, "Why tars are read by own code".
 */
import { Buffer } from "node:buffer";
import { extract } from "tar-stream";
import { readArchive } from "../../src/archive/read-archive.ts";
import { messageOf, StowageError } from "../../src/errors.ts";
import { defaultLimits } from "../../src/limits.ts";
import { chunksOf, readAll, sha256 } from "./bytes.ts";
import { decompressIndependently } from "./independent-reading.ts";

const chunkBytes = 4096;
/** tar-stream does no I/O. If nothing happens in this number of turns of the event loop, nothing will. */
const maxIdleTurns = 100;

export interface TarEntry {
  readonly path: string;
  readonly type: string;
  readonly linkTarget: string | undefined;
  /** Digest of the body. */
  readonly digest: string;
}

export interface TarReading {
  /** The entries before the end, or before the reader gave up. */
  readonly entries: readonly TarEntry[];
  /** Why the archive is refused, or that the reader waits for ever. */
  readonly end: "complete" | "hangs" | { readonly refused: string };
}

export interface Difference {
  /** As in the document's table. */
  readonly name: string;
  /** What Stowage says, if Stowage refuses what tar-stream reads. */
  readonly refused?: RegExp;
  /** Does it explain that Stowage reads the archive, and tar-stream does not, or finds other entries? */
  readonly explains?: (stowage: readonly TarEntry[], tarStream: TarReading, tar: Uint8Array) => boolean;
}

/** In the order of the document's table. */
export const differences: readonly Difference[] = [
  {
    name: "a size such as `5abc`, `5.9` or `00005 00005`",
    refused: /its size is ".*", expected (?:octal digits|a whole number)/s,
  },
  { name: "a size in base-256 that begins with 0x81", refused: /its size is beyond 2\^53 bytes/ },
  {
    name: "a directory with a size, and no body",
    explains: (stowage, { end }) => end === "hangs" && stowage.some(({ type }) => type === "directory"),
  },
  { name: "a body of a directory, a link or a device", refused: /found an? [\w-]+ of \d+ bytes, expected none/ },
  {
    name: "a file whose name ends with a slash",
    explains: (stowage, { entries, end }) => end === "complete" && typesThatDiffer(stowage, entries).has("directory"),
  },
  {
    name: "a volume's label",
    explains: (stowage, { entries, end }) =>
      end === "complete" && typesThatDiffer(stowage, entries).has("volume-label"),
  },
  {
    name: "bytes behind the end",
    refused: /other bytes follow the end of the tar/,
  },
  { name: "no end", refused: /it is cut short|it is empty/ },
  {
    name: "zeros behind the end that fill no block",
    explains: (stowage, { entries, end }) =>
      isRefused(end, /Unexpected end of data/) &&
      isOneOf(["directory", "volume-label"], typesThatDiffer(stowage, entries)),
  },
  {
    name: "a checksum of signed bytes",
    explains: (_, { end }, tar) => isRefused(end, /Invalid tar header/) && !hasEmptyExtension(tar),
  },
  { name: "extended headers that are long or many", refused: /extended headers? ha(?:s|ve) \d+ bytes/ },
  {
    name: "two that differ, one without an entry, a malformed one",
    refused: /extended header (?:says|stands before no entry|is wrong|has no value)|two extended headers of type/,
  },
  {
    name: "one with a path or a size for all entries",
    refused: /a global extended header sets the/,
  },
  { name: "one without records", explains: (_, { end }, tar) => end !== "complete" && hasEmptyExtension(tar) },
  {
    name: "one of Solaris (type `X`)",
    explains: (stowage, { entries }) =>
      entries.length > stowage.length && entries.some(({ type }) => type === "unknown"),
  },
  { name: "a sparse file, a further volume", refused: /it is a sparse file|it goes on from another volume/ },
  {
    name: "a path that leads out, or is none",
    refused: /found the path|found a file without a name/,
  },
  { name: "a path of more than 4,096 characters", refused: /has \d+ characters, at most 4096 are allowed/ },
  { name: "a name that begins with a byte order mark" }, // on Workers alone: test/workerd/read-archive.suite.ts
];

/** The name of the difference between the readers. Undefined if both read the same, or both refuse. Throws for an unlisted difference. */
export async function compareReaders(body: Uint8Array): Promise<string | undefined> {
  const tar = tarIn(body);
  if (tar === undefined) return undefined;
  const stowage = await readWithStowage(tar);
  const tarStream = await readWithTarStream(tar);
  if (stowage.end !== "complete" && tarStream.end !== "complete") return undefined;
  if (isEqual(stowage, tarStream)) return undefined;
  const found = differences.find(({ refused, explains }) =>
    stowage.end === "complete"
      ? explains?.(stowage.entries, tarStream, tar)
      : refused && isRefused(stowage.end, refused),
  );
  if (found !== undefined) return found.name;
  throw new Error(`Found an unlisted difference: ${JSON.stringify({ stowage, tarStream }, undefined, 2)}`);
}

/** Undefined if there is none. Stowage refuses what was compressed twice. */
function tarIn(body: Uint8Array): Uint8Array | undefined {
  try {
    const tar = decompressIndependently(body);
    return tar === body || decompressIndependently(tar) === tar ? tar : undefined;
  } catch {
    return undefined;
  }
}

export async function readWithStowage(tar: Uint8Array): Promise<TarReading> {
  const entries: TarEntry[] = [];
  try {
    for await (const { path, label, type, linkTarget, body } of readArchive(chunksOf(tar, chunkBytes), defaultLimits)) {
      const isLink = type === "link" || type === "symlink";
      const digest = sha256(await readAll(body));
      entries.push({ path: label ?? path, type, linkTarget: isLink ? linkTarget : undefined, digest });
    }
  } catch (error) {
    if (!(error instanceof StowageError)) throw error;
    return { entries, end: { refused: error.message } };
  }
  return { entries, end: "complete" };
}

export async function readWithTarStream(tar: Uint8Array): Promise<TarReading> {
  const entries: TarEntry[] = [];
  const ends: TarReading["end"][] = [];
  let idleTurns = 0;
  const options = { allowUnknownFormat: true, highWaterMark: 16_384 }; // a header without a magic is V7's
  const archive = extract(options);
  archive.on("entry", ({ name, type, linkname }, stream, next) => {
    const isLink = type === "link" || type === "symlink";
    const isKnown = (type as string | null) !== null;
    readAll(stream as AsyncIterable<Uint8Array>).then((body) => {
      idleTurns = 0;
      const path = isKnown ? withoutDots(name) : name;
      entries.push({
        path,
        type: isKnown ? type : "unknown",
        linkTarget: isLink ? linkname : undefined,
        digest: sha256(body),
      });
      next();
    }, next);
  });
  archive.on("error", (error) => ends.push({ refused: messageOf(error) }));
  archive.on("finish", () => ends.push("complete"));
  for (let i = 0; i < tar.length; i += chunkBytes) archive.write(Buffer.from(tar.subarray(i, i + chunkBytes)));
  archive.end(null);
  for (; ends.length === 0 && idleTurns < maxIdleTurns; idleTurns++) await new Promise(setImmediate);
  archive.destroy(null);
  return { entries: [...entries], end: ends[0] ?? "hangs" };
}

/** An extended header whose size is 0. */
function hasEmptyExtension(tar: Uint8Array): boolean {
  const text = Buffer.from(tar.buffer, tar.byteOffset, tar.length).toString("latin1");
  return Array.from({ length: Math.floor(tar.length / 512) }, (_, i) => text.slice(i * 512 + 124, i * 512 + 262)).some(
    (fields) => /^0*[ \0]*\0[^]{20}[xgLK][^]{100}ustar/.test(fields),
  );
}

function isRefused(end: TarReading["end"], message: RegExp): boolean {
  return typeof end === "object" && message.test(end.refused);
}

/** Stowage's types of entries that have another type for tar-stream. `more` if more than types differ. */
function typesThatDiffer(stowage: readonly TarEntry[], entries: readonly TarEntry[]): ReadonlySet<string> {
  const withoutType = ({ path, linkTarget, digest }: TarEntry): unknown => [withoutDots(path), linkTarget, digest];
  if (!isEqual(stowage.map(withoutType), entries.map(withoutType))) return new Set(["more"]);
  return new Set(stowage.filter(({ type }, i) => type !== entries[i]?.type).map(({ type }) => type));
}

function isOneOf(allowed: readonly string[], found: ReadonlySet<string>): boolean {
  return [...found].every((type) => allowed.includes(type));
}

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function withoutDots(path: string): string {
  return path
    .split("/")
    .filter((segment) => segment !== "" && segment !== ".")
    .join("/");
}
