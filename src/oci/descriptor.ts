/** Reads descriptors of the OCI image specification ("Content Descriptors") from JSON that is not trusted. */
import { type Digest, digestForm, isDigest, isOtherDigest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject } from "./json.ts";

/** What a manifest or an index says about a blob or a manifest. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The platform of the named image: `os`, `architecture`, and sometimes more, such as a list of `os.features`. */
  readonly platform?: JsonObject;
  /** Other places of the bytes. For a foreign layer, these are the only places. */
  readonly urls?: readonly string[];
}

/** The part of a descriptor that names a blob. */
export type BlobIdentity = Pick<Descriptor, "digest" | "size">;

/** The part of a descriptor that names a manifest. */
export type ManifestIdentity = Pick<Descriptor, "mediaType" | "digest" | "size">;

/**
 * Checks one descriptor. `where` names its place in messages, such as `manifests[2] of index.json`.
 * Throws `DIGEST_INVALID`, `SIZE_INVALID` or `MANIFEST_INVALID`, and `UNSUPPORTED` for another algorithm than SHA-256.
 */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isJsonObject(value)) {
    throw new StowageError(
      "MANIFEST_INVALID",
      `Cannot read ${where}: found ${describeJson(value)}, expected a descriptor`,
    );
  }
  const { artifactType, annotations, platform, urls, ...rest } = value;
  const type = parseOptional(artifactType, `the artifactType of ${where}`, aString);
  const platformOrNone = parseOptional(platform, `the platform of ${where}`, aPlatform);
  const urlsOrNone = parseOptional(urls, `the urls of ${where}`, aListOfStrings);
  return {
    ...rest, // keeps fields that Stowage does not read, such as `data`
    mediaType: parseMediaType(value["mediaType"], where),
    digest: parseDigest(value["digest"], where),
    size: parseSize(value["size"], where),
    ...(type !== undefined && { artifactType: type }),
    ...(isJsonObject(annotations) && { annotations: stringsOf(annotations) }),
    ...(platformOrNone && { platform: platformOrNone }),
    ...(urlsOrNone && { urls: urlsOrNone }),
  };
}

/**
 * Returns only the fields that Stowage reads. A manifest's descriptors need no other fields, and their `data` can be
 * large.
 */
export function knownFields(descriptor: Descriptor): Descriptor {
  const { mediaType, digest, size, artifactType, annotations, platform, urls } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations && { annotations }),
    ...(platform && { platform }),
    ...(urls && { urls }),
  };
}

/**
 * Checks an optional value. `null` counts as missing. Throws `MANIFEST_INVALID` for a value of another type: Go's
 * readers would refuse the whole manifest, so most clients could not pull it. `what` names the value in messages:
 * `the urls of layers[2]`, for example.
 */
export function parseOptional<T>(value: unknown, what: string, { is, expected }: FieldType<T>): T | undefined {
  if (value === undefined || value === null) return undefined;
  if (is(value)) return value;
  throw new StowageError("MANIFEST_INVALID", `Cannot read ${what}: found ${describeJson(value)}, expected ${expected}`);
}

interface FieldType<T> {
  readonly is: (value: unknown) => value is T;
  readonly expected: string;
}

const isString = (value: unknown): value is string => typeof value === "string";
const isStrings = (value: unknown): value is string[] => Array.isArray(value) && value.every(isString);
export const aString: FieldType<string> = { is: isString, expected: "a string" };
const aListOfStrings: FieldType<string[]> = { is: isStrings, expected: "a list of strings" };
const aPlatform: FieldType<JsonObject> = {
  is: isPlatform,
  expected: "an object with an os and an architecture as strings",
};

function isPlatform(value: unknown): value is JsonObject {
  if (!isJsonObject(value)) return false;
  const words = ["architecture", "os", "os.version", "variant"].map((name) => value[name] ?? "");
  return words.every(isString) && isStrings(value["os.features"] ?? []);
}

function parseMediaType(value: unknown, where: string): string {
  if (typeof value === "string") return value;
  if (value === undefined) return ""; // some writers leave it out; the bytes tell the type
  throw new StowageError("MANIFEST_INVALID", `Cannot read the mediaType of ${where}: found ${describeJson(value)}`);
}

function parseDigest(value: unknown, where: string): Digest {
  if (isDigest(value)) return value;
  const isOther = isString(value) && isOtherDigest(value);
  throw new StowageError(
    isOther ? "UNSUPPORTED" : "DIGEST_INVALID",
    `Cannot read the digest of ${where}: found ${describeJson(value)}, expected ${digestForm}`,
  );
}

function parseSize(value: unknown, where: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new StowageError(
    "SIZE_INVALID",
    `Cannot read the size of ${where}: found ${describeJson(value)}, expected a whole number of bytes from 0 to 2^53-1`,
  );
}

/** The fields of an object whose values are strings. */
export function stringsOf(object: JsonObject): Record<string, string> {
  const strings = Object.entries(object).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(strings);
}

/** The platform that an image runs on, such as `linux/arm64/v8`. Undefined if os or architecture is missing. */
export function platformOf({ os, architecture, variant }: JsonObject = {}): string | undefined {
  if (typeof os !== "string" || typeof architecture !== "string" || os === "" || architecture === "") return undefined;
  return [os, architecture, ...(typeof variant === "string" && variant !== "" ? [variant] : [])].join("/");
}

export const platformPattern = /^[a-z0-9]+\/[a-z0-9_]+(?:\/[a-z0-9.]+)?$/;

/** Checks a platform that a user writes, such as `linux/arm64`. Throws `INPUT_INVALID`. */
export function parsePlatform(text: string): string {
  if (platformPattern.test(text)) return text;
  const expected = "expected OS/ARCHITECTURE[/VARIANT], such as linux/arm64";
  throw new StowageError("INPUT_INVALID", `Cannot use ${quote(text, 100)} as a platform: ${expected}`);
}
