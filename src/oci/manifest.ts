/**
 * Reads manifests and indexes. The bytes decide which of the two it is, not the descriptor: linuxkit's own export calls
 * a manifest an index.
 */
import { Buffer } from "node:buffer";
import { StowageError, messageOf } from "../errors.ts";
import { type Descriptor, aString, knownFields, parseDescriptor, parseOptional, stringsOf } from "./descriptor.ts";
import { describeJson, isJsonObject, parseOciJson } from "./json.ts";

/** What an `oci-layout` file holds (image specification, "oci-layout file"). */
export const ociLayoutJson = '{"imageLayoutVersion":"1.0.0"}';

export const ociIndexType = "application/vnd.oci.image.index.v1+json";
export const ociManifestType = "application/vnd.oci.image.manifest.v1+json";
export const dockerListType = "application/vnd.docker.distribution.manifest.list.v2+json";
export const dockerManifestType = "application/vnd.docker.distribution.manifest.v2+json";
/**
 * A type from drafts of the specification. The final specification has image manifests with an `artifactType` instead.
 */
const artifactManifestType = "application/vnd.oci.artifact.manifest.v1+json";
const indexTypes: ReadonlySet<string> = new Set([ociIndexType, dockerListType]);
const manifestTypes: ReadonlySet<string> = new Set([ociManifestType, dockerManifestType]);

/** An image index or a Docker manifest list. */
export interface ImageIndex {
  readonly kind: "index";
  readonly mediaType: string;
  /** The manifests that the index names. */
  readonly manifests: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** An image manifest, an artifact's included. */
export interface ImageManifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  /** The config and the layers, in this order. */
  readonly blobs: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  /**
   * The manifest's own type, or else the media type of its config (distribution specification, "Listing Referrers").
   */
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

export type Manifest = ImageIndex | ImageManifest;

/**
 * Reads a manifest or an index (image specification, "Image Manifest" and "Image Index"; also Docker's schema 2).
 * `name` is its digest or path, for messages. `declaredType` is the media type in its descriptor, which counts if the
 * bytes have no media type. Throws `MANIFEST_INVALID`, `UNSUPPORTED` for an artifact manifest from drafts of the
 * specification, and the errors of `parseDescriptor`. Docker's schema 1 is `UNSUPPORTED` too.
 */
export function parseManifest(bytes: Uint8Array, name: string, declaredType?: string): Manifest {
  const json = parseManifestJson(bytes, name);
  if ((json["mediaType"] ?? declaredType) === artifactManifestType) throw formerArtifact(name);
  if (json["schemaVersion"] === 1 && json["fsLayers"] !== undefined) throw schema1(name);
  if (json["schemaVersion"] !== 2) {
    throw invalid(name, `its schemaVersion is ${describeJson(json["schemaVersion"])}, expected 2`);
  }
  // `null` counts as missing. Go's readers do the same.
  const [manifests, config, layers, subject] = ["manifests", "config", "layers", "subject"].map(
    (key) => json[key] ?? undefined,
  );
  if (Array.isArray(manifests) === (config !== undefined || layers !== undefined)) {
    throw invalid(name, "expected either a list of manifests (an index) or a config and layers (a manifest)");
  }
  const about = {
    subject: subject === undefined ? undefined : parseDescriptor(subject, `the subject of ${name}`),
    artifactType: stringOrUndefined(parseOptional(json["artifactType"], `the artifactType of ${name}`, aString)),
    annotations: isJsonObject(json["annotations"]) ? stringsOf(json["annotations"]) : undefined,
  };

  if (Array.isArray(manifests)) {
    return {
      kind: "index",
      mediaType: mediaTypeOf(json["mediaType"], { declaredType, name, allowed: indexTypes, fallback: ociIndexType }),
      manifests: parseDescriptors(manifests, (i) => `manifests[${i}] of ${name}`),
      ...about,
    };
  }
  const layerList = json["layers"] === null ? [] : layers; // BuildKit writes `null` for no layers
  if (!Array.isArray(layerList)) throw invalid(name, "it has a config, but no list of layers");
  const configDescriptor = parseDescriptor(config, `the config of ${name}`);
  return {
    kind: "manifest",
    mediaType: mediaTypeOf(json["mediaType"], {
      declaredType,
      name,
      allowed: manifestTypes,
      fallback: ociManifestType,
    }),
    blobs: [configDescriptor, ...parseDescriptors(layerList, (i) => `layers[${i}] of ${name}`)],
    ...about,
    artifactType: about.artifactType ?? stringOrUndefined(configDescriptor.mediaType),
  };
}

/**
 * The bytes of an image manifest. The same parts always give the same bytes: the manifest holds no date and no author.
 */
export function serializeManifest(config: Descriptor, layers: readonly Descriptor[]): Uint8Array {
  const brief = ({ mediaType, digest, size }: Descriptor): Descriptor => ({ mediaType, digest, size });
  const json = { schemaVersion: 2, mediaType: ociManifestType, config: brief(config), layers: layers.map(brief) };
  return new TextEncoder().encode(JSON.stringify(json));
}

/** The bytes of an image index. The same manifests always give the same bytes. */
export function serializeIndex(manifests: readonly Descriptor[]): Uint8Array {
  const listed = manifests.map(({ mediaType, digest, size, platform }) => ({ mediaType, digest, size, platform }));
  return new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType: ociIndexType, manifests: listed }));
}

/**
 * Could these bytes be a manifest or an index? A cheap check: a load keeps such bytes in memory, because it reads them
 * again.
 */
export function looksLikeManifest(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7b && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes('"schemaVersion"');
}

/**
 * Can a descriptor of this media type name a manifest or an index? Yes also for an empty media type: the bytes then
 * decide.
 */
export function isManifestType(mediaType: string): boolean {
  return mediaType === "" || indexTypes.has(mediaType) || manifestTypes.has(mediaType);
}

/** Can a descriptor of this media type name a manifest of any kind, also of a kind that Stowage does not take? */
export function isManifestOrFormer(mediaType: string): boolean {
  return isManifestType(mediaType) || mediaType === artifactManifestType;
}

/** Can a descriptor of this media type name an index? Yes also for an empty media type: the bytes then decide. */
export function isIndexType(mediaType: string): boolean {
  return mediaType === "" || indexTypes.has(mediaType);
}

/**
 * Is this a foreign layer? By its type, such a layer may be missing from the store: clients fetch it from its `urls`.
 */
export function isForeign(descriptor: Descriptor): boolean {
  const urls = descriptor.urls ?? [];
  return urls.length > 0 && /\.(?:foreign|nondistributable)\./.test(descriptor.mediaType);
}

function parseManifestJson(bytes: Uint8Array, name: string): Readonly<Record<string, unknown>> {
  let json: unknown;
  try {
    json = parseOciJson(bytes);
  } catch (error) {
    throw new StowageError("MANIFEST_INVALID", `Cannot read ${name} as JSON: ${messageOf(error)}`, { cause: error });
  }
  if (!isJsonObject(json)) throw invalid(name, "expected a JSON object");
  return json;
}

function parseDescriptors(values: readonly unknown[], where: (i: number) => string): Descriptor[] {
  return values.map((value, i) => knownFields(parseDescriptor(value, where(i))));
}

/** An empty string counts as missing: some of Go's writers write it, others leave it out. */
function stringOrUndefined(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

interface MediaTypeChoice {
  readonly declaredType: string | undefined;
  readonly name: string;
  readonly allowed: ReadonlySet<string>;
  readonly fallback: string;
}

function mediaTypeOf(own: unknown, { declaredType, name, allowed, fallback }: MediaTypeChoice): string {
  if (own === undefined || own === null || own === "") {
    return declaredType !== undefined && allowed.has(declaredType) ? declaredType : fallback;
  }
  if (typeof own === "string" && allowed.has(own)) return own;
  throw invalid(name, `its mediaType is ${describeJson(own)}, expected ${[...allowed].join(" or ")}`);
}

function formerArtifact(name: string): StowageError {
  const message = `Cannot take ${name}: it is of the former type ${artifactManifestType}, expected ${ociManifestType}`;
  return new StowageError("UNSUPPORTED", message);
}

function schema1(name: string): StowageError {
  const message = `Cannot take ${name}: it is a manifest of Docker's schema 1, expected schema 2 or ${ociManifestType}`;
  return new StowageError("UNSUPPORTED", message);
}

function invalid(name: string, reason: string): StowageError {
  return new StowageError("MANIFEST_INVALID", `Cannot read ${name} as a manifest: ${reason}`);
}
