/**
 * The index of one repository, as it lies in the store: an OCI image index whose entries carry their tag as
 * `org.opencontainers.image.ref.name`. Entries and annotations that other tools wrote are kept as they are.
 *
 * What commits must know of each other is in annotations of its own, so that it changes in the same write as the entries:
 *
 *     dev.stowage.generation    grows with each write, so that no two states have the same bytes and so the same ETag
 *     dev.stowage.commits       ids of the latest commits, the newest last: whoever got no answer looks here
 *     dev.stowage.applied       by id of an intent, what became of it: whoever wrote it looks here
 *     dev.stowage.removed       digests that are not to be served, though their bytes are still there
 *     dev.stowage.history       the last changes of names that have no entry; an entry has its own in `dev.stowage.at`
 *     dev.stowage.format        the number of this format: see `checkFormat`
 */
import { Buffer } from "node:buffer";
import { StowageError, messageOf } from "../../errors.ts";
import {
  type ChangeHistory,
  emptyHistory,
  latestGeneration,
  parseHistory,
  serializeHistory,
} from "./change-history.ts";
import { type Descriptor, parseDescriptor } from "../../oci/descriptor.ts";
import type { ChangeSetOutcome } from "../../oci/index-change.ts";
import { describeJson, isJsonObject, parseJson } from "../../oci/json.ts";
import { ociIndexType } from "../../oci/manifest.ts";
import { parseOutcomes } from "./parse-change.ts";

const generationAnnotation = "dev.stowage.generation";
const commitsAnnotation = "dev.stowage.commits";
const appliedAnnotation = "dev.stowage.applied";
const removedAnnotation = "dev.stowage.removed";
const historyAnnotation = "dev.stowage.history";
const formatAnnotation = "dev.stowage.format";

/**
 * The format of a bucket that this version writes. The first had no number: its indexes are read, and become ones of this
 * format when they are written next.
 */
export const currentFormat = 2;

export interface RepositoryIndex {
  /** Of an index that says no format, the current one. */
  readonly format: number;
  readonly generation: number;
  readonly commits: readonly string[];
  readonly applied: ReadonlyMap<string, readonly ChangeSetOutcome[]>;
  readonly removed: readonly string[];
  readonly history: ChangeHistory;
  readonly entries: readonly Descriptor[];
  /** Those that are not Stowage's. */
  readonly annotations: Readonly<Record<string, unknown>>;
}

export const emptyIndex: RepositoryIndex = {
  format: currentFormat,
  generation: 0,
  commits: [],
  applied: new Map(),
  removed: [],
  history: emptyHistory,
  entries: [],
  annotations: {},
};

/** Reads the index that lies under `key`. Throws `STORE_DAMAGED`. */
export function parseRepositoryIndex(bytes: Uint8Array, key: string): RepositoryIndex {
  try {
    const json = parseJson(bytes);
    if (!isJsonObject(json) || !Array.isArray(json["manifests"])) throw new Error("expected an image index");
    const {
      [generationAnnotation]: generation,
      [commitsAnnotation]: commits,
      [appliedAnnotation]: applied,
      [removedAnnotation]: removed,
      [historyAnnotation]: history,
      [formatAnnotation]: formatText,
      ...annotations
    } = isJsonObject(json["annotations"]) ? json["annotations"] : {};
    const entries = json["manifests"].map((entry, i) => parseDescriptor(entry, `manifests[${i}]`));
    const format = Number(formatText ?? currentFormat) || currentFormat;
    const number = Number(generation ?? 0) || latestGeneration(entries);
    return {
      format,
      generation: number,
      commits: parseWords(commits),
      applied: format > currentFormat ? new Map() : parseApplied(applied), // a later format may have other outcomes
      removed: parseWords(removed),
      history: parseHistory(history, number),
      entries,
      annotations,
    };
  } catch (error) {
    const message = `Cannot read the index "${key}" in the store: ${messageOf(error)}`;
    throw new StowageError("STORE_DAMAGED", message, { cause: error });
  }
}

/** Throws `STORE_UNAVAILABLE` for an index that only a later version of Stowage may change. */
export function checkFormat({ format }: RepositoryIndex, repository: string): void {
  if (format <= currentFormat) return;
  const message = `Cannot change "${repository}": its index has format ${format}, expected at most ${currentFormat}; a later version of Stowage wrote it`;
  const detail = { name: repository, found: format, expected: currentFormat };
  throw new StowageError("STORE_UNAVAILABLE", message, { detail });
}

/** The bytes of an index, ready to be written. */
export function serializeRepositoryIndex(index: RepositoryIndex): Uint8Array {
  const { generation, commits, applied, removed, history, entries, annotations } = index;
  const json = {
    schemaVersion: 2,
    mediaType: ociIndexType,
    manifests: entries,
    annotations: {
      ...annotations,
      [generationAnnotation]: String(generation),
      ...(commits.length > 0 && { [commitsAnnotation]: commits.join(" ") }),
      ...(applied.size > 0 && { [appliedAnnotation]: JSON.stringify(Object.fromEntries(applied)) }),
      ...(removed.length > 0 && { [removedAnnotation]: removed.join(" ") }),
      [historyAnnotation]: serializeHistory(history, generation),
      [formatAnnotation]: String(currentFormat),
    },
  };
  return new TextEncoder().encode(withTellingLength(JSON.stringify(json), entries.length === 0));
}

/** The length in bytes of an index without entries is a multiple of this number. No other index that is written has such a length. */
const emptyMultiple = 4096;
/** Longer than any index without entries that is written. */
const maxEmptyBytes = 1024 * 1024;

/**
 * Could an index of this many bytes have no entries? A listing of the bucket tells sizes, so that a catalog reads only the few
 * indexes of which this is true. Another tool's index can have such a length and entries.
 */
export function mayBeEmpty(bytes: number): boolean {
  return bytes % emptyMultiple === 0 && bytes <= maxEmptyBytes;
}

/** White space at the end of a JSON text means nothing. */
function withTellingLength(json: string, isEmpty: boolean): string {
  const beyond = Buffer.byteLength(json) % emptyMultiple;
  if (!isEmpty) return beyond === 0 ? `${json}\n` : json;
  return json + " ".repeat((emptyMultiple - beyond) % emptyMultiple);
}

function parseWords(value: unknown): string[] {
  return typeof value === "string" ? value.split(" ").filter((word) => word !== "") : [];
}

function parseApplied(value: unknown): Map<string, ChangeSetOutcome[]> {
  if (typeof value !== "string") return new Map();
  const json = parseJson(new TextEncoder().encode(value));
  if (!isJsonObject(json)) throw new Error(`found ${describeJson(json)} as ${appliedAnnotation}, expected an object`);
  return new Map(Object.entries(json).map(([id, outcomes]) => [id, parseOutcomes(outcomes)]));
}
