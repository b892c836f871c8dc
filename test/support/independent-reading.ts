/** What is in an archive, read by other hands than Stowage's, so that a test can say what a receipt should be. */
import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import zlib from "node:zlib";
import { Decompress as Zstd, decompress as unzstd } from "fzstd";
import { extract } from "tar-stream";
import { chunksOf, digestLike, readAll } from "./bytes.ts";

export interface Reading {
  /** By path, without `./` in front. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** Every file, in the archive's order, also where a later one has its name. */
  readonly entries: readonly (readonly [path: string, bytes: Buffer])[];
  /** Of everything that the archive has, folders and links included. */
  readonly paths: ReadonlySet<string>;
  /** Where symbolic and hard links lead, by path, both from the top of the archive. */
  readonly links: ReadonlyMap<string, string>;
}

/** An image that an archive names, and what it is to be called. */
export interface NamedImage {
  readonly repository: string;
  /** Undefined where only its digest names it. */
  readonly tag: string | undefined;
}

/** An image of a layout. */
export interface LayoutImage extends NamedImage {
  readonly digest: string;
}

/** An image of a docker-archive, whose manifest is still to be made. */
export interface DockerImage extends NamedImage {
  readonly config: string;
  readonly layers: readonly string[];
}

/** Reads the whole archive, plain or compressed. */
export async function readIndependently(body: Uint8Array): Promise<Reading> {
  const files = new Map<string, Buffer>();
  const links = new Map<string, string>();
  const paths = new Set<string>();
  const entries: [string, Buffer][] = [];
  const options = { allowUnknownFormat: true, highWaterMark: 16_384 }; // a header without a magic is V7's
  for await (const entry of Readable.from(chunksOf(withoutStumblingBlocks(decompressIndependently(body)), 4096)).pipe(
    extract(options),
  )) {
    const { name, type, linkname } = entry.header;
    const path = normalise(name);
    paths.add(path);
    const bytes = await readAll(Readable.from(entry));
    if (type === "file" || type === "contiguous-file" || type === null) {
      files.set(path, bytes);
      entries.push([path, bytes]);
    } else if (type === "link") links.set(path, normalise(linkname ?? ""));
    else if (type === "symlink") links.set(path, normalise(`${path}/../${linkname}`));
  }
  return { files, entries, paths, links };
}

interface Named {
  readonly digest: string;
  readonly mediaType?: string;
  readonly annotations?: Readonly<Record<string, unknown>>;
}

/** An index, or an image's manifest, as far as it matters here. */
interface Manifest {
  readonly manifests?: readonly Named[];
  readonly subject?: Named | null;
  readonly config?: Named | null;
}

/**
 * The images that `index.json` names, each name once; undefined if the archive is none of a layout. One without a name that is
 * a part of another is no image of its own, unless it says something about a third; it is to be where that is then. Of several
 * with one name, that has its tag which says nothing about another. What a `manifest.json` calls them they are called too.
 */
export function layoutImagesIn(reading: Reading): LayoutImage[] | undefined {
  const { files } = reading;
  const index = files.get("index.json");
  if (index === undefined || !isLayout(reading)) return undefined;
  const { manifests: all = [] } = JSON.parse(index.toString()) as Manifest;
  const manifestOf = ({ digest }: Named): Manifest =>
    (parsed(files.get(`blobs/${digest.replace(":", "/")}`)) as Manifest | undefined) ?? {};
  const partsOf = (named: Named): readonly Named[] =>
    (manifestOf(named).manifests ?? []).flatMap((child) => [child, ...partsOf(child)]);
  const subjectOf = (named: Named): string | undefined => manifestOf(named).subject?.digest;

  const given = new Set(all.filter(hasName).map((root) => textOf(nameIn(root.annotations ?? {}))));
  const leadsTo = (root: Named, config: string): boolean =>
    [root, ...partsOf(root)].some((one) => manifestOf(one).config?.digest === config);
  const ownerOf = (config: string): string | undefined => all.find((root) => leadsTo(root, config))?.digest;
  const roots = all.flatMap((root) => {
    const first = all.find(({ digest }) => digest === root.digest) === root;
    const more = namesBeside(reading).filter(
      ({ config, name }) => ownerOf(config) === root.digest && !given.has(textOf(name)),
    );
    const own = hasName(root) ? nameIn(root.annotations ?? {}) : undefined;
    const isBetter =
      own === undefined || (own.repository === "images" && more.some(({ name }) => name.tag === own.tag));
    const kept = more.length > 0 && isBetter ? [] : [{ ...root, name: own }];
    return first ? [...kept, ...more.map(({ name }) => ({ ...root, name }))] : kept;
  });
  const parts = new Set(all.flatMap(partsOf).map(({ digest }) => digest));
  const listed = roots.filter(
    (root) => root.name !== undefined || !parts.has(root.digest) || subjectOf(root) !== undefined,
  );
  const placesOf = (root: (typeof roots)[number], below: readonly string[] = []): readonly NamedImage[] => {
    if (root.name !== undefined) {
      const rivals = listed.filter(({ name, digest }) => textOf(name) === textOf(root.name) && digest !== root.digest);
      const loses = subjectOf(root) !== undefined && rivals.some((rival) => subjectOf(rival) === undefined);
      return [loses ? { ...root.name, tag: undefined } : root.name];
    }
    const about = subjectOf(root);
    const subjects = listed.filter(({ digest }) => digest === about && !below.includes(digest));
    const names = subjects.flatMap((subject) => placesOf(subject, [...below, root.digest]));
    return names.length === 0 ? [unnamed] : names.map(({ repository }) => ({ repository, tag: undefined }));
  };
  const images = listed.flatMap((root) => placesOf(root).map((name) => ({ ...name, digest: root.digest })));
  return [...new Map(images.map((image) => [`${image.repository}:${image.tag ?? image.digest}`, image])).values()];
}

/** The digests of roots that are no manifests by their media type. */
export function unknownRootsIn({ files }: Reading): Set<string> {
  const { manifests = [] } = (parsed(files.get("index.json")) as Manifest | undefined) ?? {};
  const isKnown = /^$|\.image\.(?:manifest|index)\.|\.distribution\.manifest\./;
  return new Set(manifests.filter(({ mediaType = "" }) => !isKnown.test(mediaType)).map(({ digest }) => digest));
}

/** A docker-archive can have an `index.json` too; then it has nothing else of a layout. */
function isLayout(reading: Reading): boolean {
  const { paths } = reading;
  if (paths.has("oci-layout") || [...paths].some((path) => /^blobs(?:\/|$)/.test(path))) return true;
  const images = dockerManifestIn(reading);
  return (
    images === undefined ||
    images.some(({ Config, Layers }) => /"(?:\.?\/)*blobs\//.test(JSON.stringify([Config, Layers])))
  );
}

interface ListedImage {
  readonly Config: string;
  readonly Layers?: readonly string[] | null;
  readonly RepoTags?: readonly string[] | null;
}

/** What a `manifest.json` lists; undefined if it is none, or there twice and differs. */
function dockerManifestIn({ entries }: Reading): readonly ListedImage[] | undefined {
  const texts = new Set(
    entries.filter(([path]) => path === "manifest.json").map(([, bytes]) => bytes.toString("latin1")),
  );
  const [bytes] = entries.filter(([path]) => path === "manifest.json").map(([, content]) => content);
  const json = texts.size === 1 ? parsed(bytes) : undefined;
  return Array.isArray(json) && json.length > 0 ? (json as ListedImage[]) : undefined;
}

function namesBeside(reading: Reading): readonly { readonly config: string; readonly name: NamedImage }[] {
  return (dockerManifestIn(reading) ?? []).flatMap(({ Config, RepoTags }) =>
    (RepoTags ?? []).map((tag) => ({ config: claimedDigest(Config) ?? "", name: parseName(tag) })),
  );
}

function parsed(bytes: Buffer | undefined): unknown {
  try {
    return JSON.parse(bytes?.toString() ?? "");
  } catch {
    return undefined;
  }
}

function hasName({ annotations }: Named): boolean {
  return nameAnnotations.some((name) => typeof annotations?.[name] === "string");
}

function textOf(name: NamedImage | undefined): string {
  return `${name?.repository}:${name?.tag}`;
}

/** The images that the `manifest.json` of a docker-archive names, once for each of their names. */
export function dockerImagesIn({ files, links }: Reading): DockerImage[] {
  const digestAt = (path: string): string => {
    let at = normalise(path);
    for (let target = links.get(at); target !== undefined; target = links.get(at)) at = target;
    const bytes = files.get(at);
    const claimed = claimedDigest(at); // without a file: a blob of the store, or another file with the same bytes
    return bytes === undefined ? (claimed ?? `nothing at ${path}`) : digestLike(claimed ?? "", bytes);
  };
  const images = JSON.parse(files.get("manifest.json")?.toString() ?? "[]") as {
    Config: string;
    Layers: string[] | null;
    RepoTags: string[] | null;
  }[];
  return images.flatMap(({ Config, Layers, RepoTags }) => {
    const names = (RepoTags ?? []).map((tag) => parseName(tag));
    const image = { config: digestAt(Config), layers: (Layers ?? []).map((layer) => digestAt(layer)) };
    return (names.length > 0 ? names : [unnamed]).map((name) => ({ ...image, ...name }));
  });
}

function claimedDigest(path: string): string | undefined {
  const hex = /[0-9a-f]{128}|[0-9a-f]{64}/.exec(path)?.[0];
  return hex && `${hex.length === 128 ? "sha512" : "sha256"}:${hex}`;
}

const unnamed: NamedImage = { repository: "images", tag: undefined };

const nameAnnotations = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

function nameIn(annotations: Readonly<Record<string, unknown>>): NamedImage {
  const whole = annotations["io.containerd.image.name"];
  const ref = annotations["org.opencontainers.image.ref.name"];
  if (typeof whole === "string") return parseName(whole);
  if (typeof ref !== "string") return unnamed;
  return /[/:@]/.test(ref) ? parseName(ref) : { repository: "images", tag: usable(ref) };
}

/** A registry that only says where an image was made. */
const place = /^(?:(?:index\.)?docker\.io|localhost|.*:\d+|\[.*\])$/i;

function parseName(text: string): NamedImage {
  if (/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text)) return unnamed;
  const [named = "", digest] = text.split("@");
  const segments = named.split("/");
  const [last = "", tag] = (segments.pop() ?? "").split(":");
  segments.push(last);
  while (segments.length > 1 && place.test(segments[0] ?? "")) segments.shift();
  const [host = "", ...path] = segments;
  const name = path.length > 0 && host.includes(".") ? [host.toLowerCase(), ...path] : segments;
  const repository = (name[0] === "library" && name.length === 2 ? name.slice(1) : name).join("/");
  return { repository, tag: tag === undefined ? (digest === undefined ? "latest" : undefined) : usable(tag) };
}

/** The image specification allows more than registries do: such an image is found by its digest. */
function usable(tag: string): string | undefined {
  return /^\w[\w.-]{0,127}$/.test(tag) ? tag : undefined;
}

/**
 * What tar-stream stumbles over, though it is right: zeros behind the end that are no whole block, and extended headers
 * that say nothing.
 */
function withoutStumblingBlocks(tar: Uint8Array): Buffer {
  const blocks = Array.from({ length: Math.ceil(tar.length / 512) }, (_, i) =>
    Buffer.concat([tar.subarray(i * 512, (i + 1) * 512)], 512),
  );
  return Buffer.concat(
    blocks.filter((block) => !/^0*[ \0]*\0[^]{20}[xgLK][^]{100}ustar/.test(block.toString("latin1", 124))),
  );
}

/** Of gzip. A bomb is larger. */
const maxExpandedBytes = 256 * 1024 * 1024;

export function decompressIndependently(body: Uint8Array): Uint8Array {
  if (body[0] === 0x1f && body[1] === 0x8b) return zlib.gunzipSync(body, { maxOutputLength: maxExpandedBytes });
  const isZstd = body[1] === (body[0] === 0x28 ? 0xb5 : 0x2a) && (body[2] === 0x2f || body[2] === 0x4d);
  return isZstd ? decompressZstd(body) : body;
}

/** Zeros may follow the last frame. fzstd takes them for the next: then all is what has come out before it gives up. */
function decompressZstd(body: Uint8Array): Uint8Array {
  const chunks: Uint8Array[] = [];
  try {
    return unzstd(body);
  } catch {
    const decoder = new Zstd((chunk) => void chunks.push(Uint8Array.from(chunk)));
    decodeWhileRight(decoder, body);
    return Buffer.concat(chunks);
  }
}

function decodeWhileRight(decoder: Zstd, body: Uint8Array): void {
  try {
    for (const byte of body) decoder.push(Uint8Array.of(byte));
  } catch {
    return;
  }
}

function normalise(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return segments.join("/");
}
