/**
 * `manifest.json` of a docker-archive, as `docker save` writes it since Docker 1.10 and many tools after it: a list of
 * images, each with its name and the paths of its parts in the archive.
 */
import { type Digest, digestOfHex } from "../digest.ts";
import { messageOf, StowageError } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, lookalikesOf, parseJson } from "./json.ts";

/** The most images in one archive, and the most names that these images have together. */
const maxImages = 1_000;
const maxNames = 10_000;

/** Some writers give this name to an image without a name, as engines show it. */
const noName = "<none>:<none>";

const refuseLookalike = lookalikesOf(["Config", "Layers", "RepoTags"]);

export interface DockerImage {
  /** Path of the config in the archive. */
  readonly config: string;
  /** Paths of the layers, from the first to the last. */
  readonly layers: readonly string[];
  /** Whole references; empty for an image without a name. */
  readonly repoTags: readonly string[];
}

/** Throws `INDEX_INVALID`, or `LIMIT_EXCEEDED` for more images or names than any archive has. */
export function parseDockerManifest(bytes: Uint8Array): readonly DockerImage[] {
  const json = parse(bytes);
  if (!Array.isArray(json)) throw invalid(`found ${describeJson(json)}, expected a list of images`);
  if (json.length === 0) throw invalid("it names no image");
  if (json.length > maxImages) throw tooMany("images", json.length, maxImages);
  const images = json.map((image, i) => parseImage(image, `image ${i}`));
  const names = images.reduce((count, { repoTags }) => count + repoTags.length, 0);
  if (names > maxNames) throw tooMany("names", names, maxNames);
  return images;
}

/** If a key comes twice, the last one counts. Go's readers do the same. */
function parse(bytes: Uint8Array): unknown {
  try {
    const json = parseJson(bytes);
    for (const image of Array.isArray(json) ? json : []) {
      if (isJsonObject(image)) Object.keys(image).forEach(refuseLookalike);
    }
    return json;
  } catch (error) {
    throw invalid(messageOf(error), error);
  }
}

function parseImage(image: unknown, where: string): DockerImage {
  if (!isJsonObject(image)) throw invalid(`found ${describeJson(image)} as ${where}, expected an object`);
  const config = image["Config"];
  if (typeof config !== "string" || config === "") {
    throw invalid(`found ${describeJson(config)} as Config of ${where}, expected a path`);
  }
  const repoTags = stringsIn(image, "RepoTags", where).filter((name) => name !== noName);
  return { config, layers: stringsIn(image, "Layers", where), repoTags };
}

/** Go writes `null` for an empty list. */
function stringsIn(image: JsonObject, field: string, where: string): readonly string[] {
  const list = image[field] ?? [];
  if (Array.isArray(list) && list.every((item) => typeof item === "string")) return list;
  throw invalid(`found ${describeJson(list)} as ${field} of ${where}, expected a list of strings`);
}

function tooMany(what: string, found: number, expected: number): StowageError {
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot load the archive: its manifest.json has ${found} ${what}, at most ${expected} are allowed`,
    { detail: { found, expected } },
  );
}

function invalid(reason: string, cause?: unknown): StowageError {
  return new StowageError("INDEX_INVALID", `Cannot read manifest.json: ${reason}`, { cause });
}

/**
 * The digest that a file's name claims, in any folder: `<hex>.tar`, `<hex>.json`, `sha256:<hex>`, … Tools agree only on
 * the name `manifest.json`. All other names are custom.
 */
export function digestInName(path: string): Digest | undefined {
  const [, folder] = /^blobs\/([^/]+)\//.exec(path) ?? [];
  const [, prefix, hex = ""] =
    /(?:^|\/)(?:(\w+):)?([0-9a-f]+)(?:\.json|\.tar|\.tgz|\.tar\.gz|\.tar\.zst)?$/.exec(path) ?? [];
  const digest = digestOfHex(hex);
  const isOther = (algorithm?: string): boolean => algorithm !== undefined && !digest?.startsWith(`${algorithm}:`);
  return isOther(folder) || isOther(prefix) ? undefined : digest;
}

/**
 * Can the file be a layer or a config: `<id>/layer.tar`, `config.json`, `config`? A file in a folder must have such a
 * name. Otherwise a tarball that is sent by mistake, such as a root file system, would fill the store. A lock is
 * neither: BuildKit leaves `index.json.lock` in its layouts.
 */
export function isBlobName(path: string): boolean {
  if (path.endsWith(".lock")) return false;
  return digestInName(path) !== undefined || /(?:\.(?:tar|tgz|tar\.gz|tar\.zst)|\/layer)$|^[^./][^/]*$/.test(path);
}

/** Is the file only for Docker before 1.10? */
export function isLegacyName(path: string): boolean {
  return path === "repositories" || /^[^/]+\/(?:json|VERSION)$/.test(path);
}
