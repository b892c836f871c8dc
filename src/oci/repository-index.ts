/**
 * The index of one repository, as it lies in the store: an OCI image index whose entries carry their tag as
 * `org.opencontainers.image.ref.name`. Entries and annotations that other tools wrote are kept as they are.
 */
import { StowageError, messageOf } from "../errors.ts";
import { type Descriptor, parseDescriptor } from "./descriptor.ts";
import { isJsonObject, parseJson } from "./json.ts";
import { ociIndexType } from "./manifest.ts";

/** The annotation of an index entry that holds its tag (image specification, "Pre-Defined Annotation Keys"). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/** Grows with each write of an index, so that no two states of it have the same bytes and so the same ETag. */
const generationAnnotation = "dev.stowage.generation";

/** What an `oci-layout` file holds (image specification, "oci-layout file"). */
export const ociLayoutJson = '{"imageLayoutVersion":"1.0.0"}';

export interface RepositoryIndex {
  readonly generation: number;
  readonly entries: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, unknown>>;
}

export const emptyIndex: RepositoryIndex = { generation: 0, entries: [], annotations: {} };

/** The tag of an index entry; one without is found by its digest alone. */
export function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** Reads the index that lies under `key`. Throws `STORE_DAMAGED`. */
export function parseRepositoryIndex(bytes: Uint8Array, key: string): RepositoryIndex {
  try {
    const json = parseJson(bytes);
    if (!isJsonObject(json) || !Array.isArray(json["manifests"])) throw new Error("expected an image index");
    const annotations = isJsonObject(json["annotations"]) ? json["annotations"] : {};
    return {
      generation: Number(annotations[generationAnnotation] ?? 0) || 0,
      entries: json["manifests"].map((entry, i) => parseDescriptor(entry, `manifests[${i}]`)),
      annotations,
    };
  } catch (error) {
    const message = `Cannot read the index "${key}" in the store: ${messageOf(error)}`;
    throw new StowageError("STORE_DAMAGED", message, { cause: error });
  }
}

/** The bytes of an index, ready to be written. */
export function serializeRepositoryIndex({ generation, entries, annotations }: RepositoryIndex): Uint8Array {
  const json = {
    schemaVersion: 2,
    mediaType: ociIndexType,
    manifests: entries,
    annotations: { ...annotations, [generationAnnotation]: String(generation) },
  };
  return new TextEncoder().encode(JSON.stringify(json));
}
