/**
 * The index of one repository, as it lies in the store: an OCI image index whose entries carry their tag as
 * `org.opencontainers.image.ref.name`. Entries and annotations that other tools wrote are kept as they are.
 *
 * Each commit leaves notes for the other writers. They are annotations of the index, so they change in the same write
 * as the entries:
 *
 *     dev.stowage.generation    grows with each write, so no two states have the same bytes and the same ETag
 *     dev.stowage.commits       ids of the latest commits, the newest last; a writer that got no answer looks here
 *     dev.stowage.applied       by the id of an intent, its outcome; the writer of the intent looks here
 *     dev.stowage.removed       digests that are not served, although their bytes are still in the store
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
 * The format of a bucket that this version writes. The first format had no number. Its indexes can be read, and the
 * next write gives them this format.
 */
export const currentFormat = 2;

export interface RepositoryIndex {
  /** The current format if the index does not name one. */
  readonly format: number;
  readonly generation: number;
  readonly commits: readonly string[];
  readonly applied: ReadonlyMap<string, readonly ChangeSetOutcome[]>;
  readonly removed: readonly string[];
  readonly history: ChangeHistory;
  readonly entries: readonly Descriptor[];
  /** The annotations that are not Stowage's. */
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

/**
 * The length in bytes of an index without entries is a multiple of this number. Stowage writes no other index of such a
 * length.
 */
const emptyMultiple = 4096;
/** Longer than any index without entries that is written. */
const maxEmptyBytes = 1024 * 1024;

/**
 * Could an index of this many bytes have no entries? A listing of the bucket tells sizes, so a catalog reads only the
 * few indexes with such a size. An index of another tool can have such a size and still have entries.
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
