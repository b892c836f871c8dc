/**
 * Keeps how far a run has come, between two slices, in one object of the store: a line with the digest of the rest, a
 * line of JSON, then the digests of manifests and of needed blobs. One write saves the whole state of one run. So any
 * saved state is a valid start, also an old one.
 */
import { Buffer } from "node:buffer";
import { Digester } from "../digest.ts";
import { type StowageError, limitExceeded, messageOf } from "../errors.ts";
import { gcRunKey } from "../layout/keys.ts";
import { describeJson, parseJson } from "../oci/json.ts";
import { type ObjectStore, answered } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import type { Progress } from "./collect-garbage.ts";
import { DigestSet } from "./digest-set.ts";
import type { Search } from "./find-needed.ts";
import { packDigest, packedDigestAt, unpackDigest } from "../oci/packed-digest.ts";

/** A Worker has 128 MB of memory, and a state takes some four times its length while it is read. */
const maxBytes = 16 * 1024 * 1024;
/** A gc begins a new run if it finds another number. */
const currentFormat = 2;

/** The last run in slices. */
export interface SavedRun {
  /** When the run began. */
  readonly began: number;
  /** Undefined if the run is over. */
  readonly progress: Progress | undefined;
}

export interface FoundRun {
  /** Undefined if there is none, or none that can be read. */
  readonly run: SavedRun | undefined;
  /** Why the run cannot be read. */
  readonly problem?: string;
  /** The ETag of the object. Undefined if there is none. */
  readonly etag: string | undefined;
}

/** Throws `LIMIT_EXCEEDED` if the object is larger than any state. */
export async function readRun(store: ObjectStore, signal: AbortSignal | undefined): Promise<FoundRun> {
  const object = await readSmallObject(store, gcRunKey, { maxBytes, signal });
  if (object === undefined) return { run: undefined, etag: undefined };
  const { bytes, etag } = object;
  try {
    return { run: parseRun(bytes, store.url), etag };
  } catch (error) {
    return { run: undefined, problem: `Cannot read "${gcRunKey}", a new run begins: ${messageOf(error)}`, etag };
  }
}

/**
 * Replaces the state with this ETag. Does nothing if another gc has replaced it. Throws `LIMIT_EXCEEDED` for a run that
 * is too large for slices.
 */
export async function saveRun(store: ObjectStore, run: SavedRun, etag: string | undefined): Promise<void> {
  const bytes = serializeRun(run, store.url);
  if (bytes.length > maxBytes) throw tooLarge(bytes.length);
  answered(await store.put(gcRunKey, bytes, { condition: etag === undefined ? "absent" : { etag } }));
}

function tooLarge(found: number): StowageError {
  const message = `Cannot collect garbage in slices, run \`stowage gc\` without a limit of its time: the state of the run has ${found} bytes`;
  return limitExceeded(message, { found, expected: maxBytes });
}

/** The line of JSON. */
interface SavedLine {
  readonly format: number;
  /** The URL of the store: a copy of the state in another store says nothing about that store. */
  readonly store: string;
  readonly began: number;
  readonly progress?: {
    readonly isSearchDone: boolean;
    readonly lastRank: string;
    readonly search: Omit<Search, "needed" | "read">;
    /** The number of digests of manifests. */
    readonly read: number;
  };
}

function serializeRun({ began, progress }: SavedRun, store: string): Uint8Array {
  const line = { format: currentFormat, store, began };
  if (progress === undefined) return joinParts(line);
  const { isSearchDone, lastRank } = progress;
  const { needed, read, ...search } = progress.search;
  const saved = { isSearchDone, lastRank, search, read: read.length };
  return joinParts({ ...line, progress: saved }, ...read.map(packDigest), needed.toBytes());
}

function joinParts(line: SavedLine, ...digests: readonly Uint8Array[]): Uint8Array {
  const parts = [Buffer.from(`${JSON.stringify(line)}\n`), ...digests];
  const digester = new Digester();
  for (const part of parts) digester.update(part);
  return Buffer.concat([Buffer.from(`${digester.digest()}\n`), ...parts]);
}

function parseRun(bytes: Uint8Array, url: string): SavedRun {
  const [digest, content] = splitLine(bytes);
  if (Buffer.from(digest).toString() !== new Digester().update(content).digest()) {
    throw new Error("its first line is not the digest of the rest");
  }
  const [line, packed] = splitLine(content);
  const { format, store, began, progress } = parseJson(line) as SavedLine; // the digest says that gc wrote these bytes
  if (format !== currentFormat) throw new Error(`found format ${describeJson(format)}, expected ${currentFormat}`);
  if (store !== url)
    throw new Error(`found the state of ${describeJson(store)}, expected that of ${describeJson(url)}`);
  if (progress === undefined) return { began, progress };
  const { isSearchDone, lastRank, search } = progress;
  const digests = Buffer.from(packed);
  let at = 0;
  const read = Array.from({ length: progress.read }, () => {
    const packedDigest = packedDigestAt(digests, at);
    at += packedDigest.length;
    return unpackDigest(packedDigest);
  });
  const needed = DigestSet.fromBytes(digests.subarray(at));
  return { began, progress: { began, isSearchDone, lastRank, search: { ...search, read, needed } } };
}

/** The first line, without its end, and the rest. */
function splitLine(bytes: Uint8Array): readonly [Uint8Array, Uint8Array] {
  const end = bytes.indexOf(0x0a);
  return [bytes.subarray(0, Math.max(0, end)), bytes.subarray(end + 1)];
}
