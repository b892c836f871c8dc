/** What is in an archive, read by other hands than Stowage's, so that a test can say what a receipt should be. */
import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import zlib from "node:zlib";
import { Decompress as Zstd, decompress as unzstd } from "fzstd";
import { extract } from "tar-stream";
import { chunksOf, readAll, sha256 } from "./bytes.ts";

export interface Reading {
  /** By path, without `./` in front. */
  readonly files: ReadonlyMap<string, Buffer>;
  /** Every file, in the archive's order, also where a later one has its name. */
  readonly entries: readonly (readonly [path: string, bytes: Buffer])[];
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
  const entries: [string, Buffer][] = [];
  const options = { allowUnknownFormat: true, highWaterMark: 16_384 }; // a header without a magic is V7's
  for await (const entry of Readable.from(chunksOf(withoutStumblingBlocks(decompress(body)), 4096)).pipe(
    extract(options),
  )) {
    const { name, type, linkname } = entry.header;
    const path = normalise(name);
    const bytes = await readAll(Readable.from(entry));
    if (type === "file" || type === "contiguous-file" || type === null) {
      files.set(path, bytes);
      entries.push([path, bytes]);
    } else if (type === "link") links.set(path, normalise(linkname ?? ""));
    else if (type === "symlink") links.set(path, normalise(`${path}/../${linkname}`));
  }
  return { files, entries, links };
}

interface Named {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, unknown>>;
}

/** An index, or an image's manifest, as far as it matters here. */
interface Manifest {
  readonly manifests?: readonly Named[];
  readonly subject?: Named | null;
}

/**
 * The images that `index.json` names, each name once; undefined if there is none. One without a name that is a part of
 * another is no image of its own, unless it says something about a third; it is to be where that is then.
 */
export function layoutImagesIn({ files }: Reading): LayoutImage[] | undefined {
  const index = files.get("index.json");
  if (index === undefined) return undefined;
  const { manifests: roots = [] } = JSON.parse(index.toString()) as Manifest;
  const manifestOf = ({ digest }: Named): Manifest =>
    JSON.parse(files.get(`blobs/${digest.replace(":", "/")}`)?.toString() ?? "{}") as Manifest;
  const partsOf = (named: Named): readonly Named[] =>
    (manifestOf(named).manifests ?? []).flatMap((child) => [child, ...partsOf(child)]);
  const parts = new Set(roots.flatMap(partsOf).map(({ digest }) => digest));
  const hasName = ({ annotations }: Named): boolean =>
    nameAnnotations.some((name) => typeof annotations?.[name] === "string");
  const listed = roots.filter(
    (root) => hasName(root) || !parts.has(root.digest) || (manifestOf(root).subject ?? undefined) !== undefined,
  );
  const namesOf = (root: Named, below: readonly string[] = []): readonly NamedImage[] => {
    const about = hasName(root) ? undefined : manifestOf(root).subject?.digest;
    const subjects = listed.filter(({ digest }) => digest === about && !below.includes(digest));
    const names = subjects.flatMap((subject) => namesOf(subject, [...below, root.digest]));
    if (names.length === 0) return [nameIn(root.annotations ?? {})];
    return names.map(({ repository }) => ({ repository, tag: undefined }));
  };
  const images = listed.flatMap((root) => namesOf(root).map((name) => ({ ...name, digest: root.digest })));
  return [...new Map(images.map((image) => [`${image.repository}:${image.tag ?? image.digest}`, image])).values()];
}

/** The images that the `manifest.json` of a docker-archive names, once for each of their names. */
export function dockerImagesIn({ files, links }: Reading): DockerImage[] {
  const digestAt = (path: string): string => {
    let at = normalise(path);
    for (let target = links.get(at); target !== undefined; target = links.get(at)) at = target;
    const bytes = files.get(at);
    if (bytes !== undefined) return sha256(bytes);
    const hex = /[0-9a-f]{64}/.exec(at)?.[0]; // a blob of the store, or another file with the same bytes
    return hex === undefined ? `nothing at ${path}` : `sha256:${hex}`;
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

const unnamed: NamedImage = { repository: "images", tag: undefined };

const nameAnnotations = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

function nameIn(annotations: Readonly<Record<string, unknown>>): NamedImage {
  const whole = annotations["io.containerd.image.name"];
  const ref = annotations["org.opencontainers.image.ref.name"];
  if (typeof whole === "string") return parseName(whole);
  if (typeof ref !== "string") return unnamed;
  return /^\w[\w.-]{0,127}$/.test(ref) ? { repository: "images", tag: ref } : parseName(ref);
}

/** A registry that only says where an image was made, a repository, a tag and a digest. */
const reference = /^(?:(?:index\.)?docker\.io\/|localhost\/|[^/]*:\d+\/)?([^:@]+)(?::([^@]+))?(@.+)?$/;

function parseName(text: string): NamedImage {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return unnamed;
  const [, name = "", tag, digest] = reference.exec(text) ?? [];
  const repository = /^library\/[^/]+$/.test(name) ? name.slice("library/".length) : name;
  return { repository, tag: tag ?? (digest === undefined ? "latest" : undefined) };
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

function decompress(body: Uint8Array): Uint8Array {
  if (body[0] === 0x1f && body[1] === 0x8b) return zlib.gunzipSync(body);
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
