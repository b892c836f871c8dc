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
 */
import { StowageError, messageOf } from "../errors.ts";
import { type Descriptor, parseDescriptor } from "./descriptor.ts";
import type { ChangeSetOutcome } from "./index-change.ts";
import { describeJson, isJsonObject, parseJson } from "./json.ts";
import { ociIndexType } from "./manifest.ts";
import { parseOutcomes } from "./parse-change.ts";

/** The annotation of an index entry that holds its tag (image specification, "Pre-Defined Annotation Keys"). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/**
 * The annotation of an index entry that holds the digest of its subject, so that referrers are found without reading them.
 */
export const subjectAnnotation = "dev.stowage.subject";

const generationAnnotation = "dev.stowage.generation";
const commitsAnnotation = "dev.stowage.commits";
const appliedAnnotation = "dev.stowage.applied";
const removedAnnotation = "dev.stowage.removed";

/** What an `oci-layout` file holds (image specification, "oci-layout file"). */
export const ociLayoutJson = '{"imageLayoutVersion":"1.0.0"}';

export interface RepositoryIndex {
  readonly generation: number;
  readonly commits: readonly string[];
  readonly applied: ReadonlyMap<string, readonly ChangeSetOutcome[]>;
  readonly removed: readonly string[];
  readonly entries: readonly Descriptor[];
  /** Those that are not Stowage's. */
  readonly annotations: Readonly<Record<string, unknown>>;
}

export const emptyIndex: RepositoryIndex = {
  generation: 0,
  commits: [],
  applied: new Map(),
  removed: [],
  entries: [],
  annotations: {},
};

/** The tag of an index entry; one without is found by its digest alone. */
export function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** The manifest that an index entry says something about. */
export function subjectOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[subjectAnnotation];
}

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
      ...annotations
    } = isJsonObject(json["annotations"]) ? json["annotations"] : {};
    return {
      generation: Number(generation ?? 0) || 0,
      commits: parseWords(commits),
      applied: parseApplied(applied),
      removed: parseWords(removed),
      entries: json["manifests"].map((entry, i) => parseDescriptor(entry, `manifests[${i}]`)),
      annotations,
    };
  } catch (error) {
    const message = `Cannot read the index "${key}" in the store: ${messageOf(error)}`;
    throw new StowageError("STORE_DAMAGED", message, { cause: error });
  }
}

/** The bytes of an index, ready to be written. */
export function serializeRepositoryIndex(index: RepositoryIndex): Uint8Array {
  const { generation, commits, applied, removed, entries, annotations } = index;
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
    },
  };
  return new TextEncoder().encode(JSON.stringify(json));
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
