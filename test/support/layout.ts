/**
 * Image layouts made in the test, and tarballs of them: the same bytes for the same options. Start with `makeLayout`;
 * what is wrong with a layout is done to it afterwards:
 *
 *     const layout = makeLayout({ layers: [randomBytes(100)], name: "docker.io/team/app:1.4" });
 *     const tarball = await tarOf(withoutBlob(layout, layout.layers[0]), { prefix: "./", compress: "gzip" });
 */
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import type { Digest } from "../../src/digest.ts";
import { readAll, sha256 } from "./bytes.ts";

export const types = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
} as const;

/** A descriptor, with whatever a test wants in it. */
export interface TestDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly [field: string]: unknown;
}

export interface Layout {
  /** What its `index.json` names. */
  readonly roots: readonly TestDescriptor[];
  /** By digest, in the order: layers, configs, manifests, indexes. */
  readonly blobs: ReadonlyMap<Digest, Buffer>;
  /** Digests of all layers, in order. */
  readonly layers: readonly Digest[];
  /** Digests of the image manifests, one for each platform. */
  readonly manifests: readonly Digest[];
  /** Digest of the first root. */
  readonly digest: Digest;
}

export interface LayoutOptions {
  /** Contents; they need not be tarballs. With several platforms each has these and one of its own. */
  readonly layers?: readonly Uint8Array[];
  /** The whole name, as engines write it: `io.containerd.image.name`. */
  readonly name?: string;
  /** `org.opencontainers.image.ref.name`: a tag, or a whole name. */
  readonly refName?: string;
  /** Such as `linux/arm64/v8`. With any, the root is an index. */
  readonly platforms?: readonly string[];
  /** Makes the image another one, though its layers are the same. */
  readonly label?: string;
  /** A manifest that this one says something about. */
  readonly subject?: TestDescriptor;
  /** Makes the digest of each part, such as `sha512`. By default `sha256`. */
  readonly digest?: (bytes: Uint8Array, part: PartName) => Digest;
  /** Fields over those of the root's descriptor, such as a media type that is wrong. */
  readonly root?: Readonly<Record<string, unknown>>;
  /** Fields over those of the manifests, such as Docker's media type; undefined leaves one out. */
  readonly manifest?: Readonly<Record<string, unknown>>;
  /** Fields over those of the configs, such as a history. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export type PartName = "layers" | "config" | "manifest" | "index";

/** A layout of one image, or of one index with an image for each platform. */
export function makeLayout(options: LayoutOptions = {}): Layout {
  const { platforms, digest: digestOf = sha256 } = options;
  const images = (platforms ?? [undefined]).map((platform) => makeImage(platform, options));
  const blobs = new Map(
    ["layers", "config", "manifest"].flatMap((part) =>
      images.flatMap(({ parts }) => parts.filter((it) => it.part === part).map((it) => [it.digest, it.bytes] as const)),
    ),
  );
  const children = images.map(({ descriptor }) => descriptor);
  const json = { schemaVersion: 2, mediaType: types.index, manifests: children };
  const index = platforms === undefined ? undefined : jsonBlob(json, (bytes) => digestOf(bytes, "index"));
  if (index !== undefined) blobs.set(index.digest, index.bytes);
  const target =
    index === undefined ? children[0] : { mediaType: types.index, digest: index.digest, size: index.bytes.length };
  if (target === undefined) throw new Error("expected at least one image");
  return toLayout([{ ...target, ...annotationsOf(options), ...options.root }], blobs, {
    layers: [...new Set(images.flatMap(({ layers }) => layers))],
    manifests: children.map(({ digest }) => digest),
  });
}

/** One layout with the roots and the blobs of all. */
export function joinLayouts(...layouts: readonly Layout[]): Layout {
  return toLayout(
    layouts.flatMap(({ roots }) => roots),
    new Map(layouts.flatMap(({ blobs }) => [...blobs])),
    { layers: layouts.flatMap(({ layers }) => layers), manifests: layouts.flatMap(({ manifests }) => manifests) },
  );
}

/** Without some of its blobs. */
export function withoutBlob(layout: Layout, ...digests: readonly (string | undefined)[]): Layout {
  return { ...layout, blobs: new Map([...layout.blobs].filter(([digest]) => !digests.includes(digest))) };
}

/** Without the manifest of one platform, counted from 0: the index is sparse then. Its layers stay. */
export function withoutPlatform(layout: Layout, platform: number): Layout {
  return withoutBlob(layout, layout.manifests[platform]);
}

/** With a blob that no image names. */
export function withBlob(layout: Layout, bytes: Uint8Array): Layout {
  return { ...layout, blobs: new Map([...layout.blobs, [sha256(bytes), Buffer.from(bytes)]]) };
}

/** With other bytes under a digest, by default those that are there with one bit turned over. */
export function withBadBlob(layout: Layout, digest: Digest | undefined, bytes?: Uint8Array): Layout {
  const blob = layout.blobs.get(digest ?? "sha256:");
  if (digest === undefined || blob === undefined) throw new Error(`expected a blob ${digest}`);
  const bad = Buffer.from(bytes ?? blob);
  if (bytes === undefined) bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
  return { ...layout, blobs: new Map([...layout.blobs, [digest, bad]]) };
}

export interface TarEntry {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface TarOptions {
  /** Puts the entries into another order; they come blobs first, then `index.json` and `oci-layout`. */
  readonly order?: (entries: readonly TarEntry[]) => readonly TarEntry[];
  /** In front of every name, such as `./`. */
  readonly prefix?: string;
  /** With an entry for each directory before what is in it. */
  readonly directories?: boolean;
  /** Entries that no layout has. */
  readonly extra?: readonly TarEntry[];
  /** Names that are left out, such as `index.json`. */
  readonly omit?: readonly string[];
  readonly compress?: "gzip";
}

export const indexFirst = (entries: readonly TarEntry[]): TarEntry[] =>
  entries.toSorted((a, b) => Number(b.name === "index.json") - Number(a.name === "index.json"));
export const reversed = (entries: readonly TarEntry[]): TarEntry[] => entries.toReversed();

/** The layout as a tarball. */
export async function tarOf(layout: Layout, options: TarOptions = {}): Promise<Buffer> {
  const { order = (it) => it, prefix = "", directories = false, extra = [], omit = [], compress } = options;
  const entries = [...filesOf(layout), ...extra].filter(({ name }) => !omit.includes(name));
  const tar = pack();
  if (directories)
    for (const name of ["blobs/", "blobs/sha256/"]) tar.entry({ name: prefix + name, type: "directory", mtime });
  for (const { name, bytes } of order(entries)) tar.entry({ name: prefix + name, mtime }, Buffer.from(bytes));
  tar.finalize();
  const bytes = await readAll(Readable.from(tar));
  return compress === "gzip" ? gzipSync(bytes) : bytes;
}

/** The files of the layout, as they lie in a directory. */
export function filesOf({ blobs, roots }: Layout): TarEntry[] {
  return [
    ...[...blobs].map(([digest, bytes]) => ({ name: `blobs/${digest.replace(":", "/")}`, bytes })),
    { name: "index.json", bytes: toJson({ schemaVersion: 2, mediaType: types.index, manifests: roots }) },
    { name: "oci-layout", bytes: toJson({ imageLayoutVersion: "1.0.0" }) },
  ];
}

const mtime = new Date(0);

interface Part {
  readonly part: PartName;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

interface TestImage {
  readonly descriptor: TestDescriptor;
  readonly parts: readonly Part[];
  readonly layers: readonly Digest[];
}

function makeImage(platform: string | undefined, options: LayoutOptions): TestImage {
  const contents = [...(options.layers ?? [Buffer.from("a layer\n")])];
  if (platform !== undefined) contents.push(Buffer.from(`a layer for ${platform}\n`));
  const { digest: digestOf = sha256 } = options;
  const layers = contents.map((content): Part => ({
    part: "layers",
    digest: digestOf(content, "layers"),
    bytes: Buffer.from(content),
  }));
  const fields = platformFields(platform);
  const configJson = {
    ...(fields ?? platformFields("linux/amd64")),
    config: { Labels: { label: options.label ?? "none" } },
    rootfs: { type: "layers", diff_ids: contents.map(sha256) },
    ...options.config,
  };
  const config = jsonBlob(configJson, (bytes) => digestOf(bytes, "config"));
  const manifestJson = {
    schemaVersion: 2,
    mediaType: types.manifest,
    config: { mediaType: types.config, digest: config.digest, size: config.bytes.length },
    layers: layers.map(({ digest, bytes }) => ({ mediaType: types.layer, digest, size: bytes.length })),
    ...(options.subject !== undefined && { subject: options.subject }),
    ...options.manifest,
  };
  const manifest = jsonBlob(manifestJson, (bytes) => digestOf(bytes, "manifest"));
  return {
    descriptor: {
      mediaType: types.manifest,
      digest: manifest.digest,
      size: manifest.bytes.length,
      ...(fields !== undefined && { platform: fields }),
    },
    parts: [...layers, { part: "config", ...config }, { part: "manifest", ...manifest }],
    layers: layers.map(({ digest }) => digest),
  };
}

function platformFields(platform: string | undefined): Readonly<Record<string, string>> | undefined {
  if (platform === undefined) return undefined;
  const [os = "", architecture = "", variant] = platform.split("/");
  return { os, architecture, ...(variant !== undefined && { variant }) };
}

function annotationsOf({ name, refName }: LayoutOptions): Pick<TestDescriptor, "annotations"> {
  if (name === undefined && refName === undefined) return {};
  return {
    annotations: {
      ...(name !== undefined && { "io.containerd.image.name": name }),
      ...(refName !== undefined && { "org.opencontainers.image.ref.name": refName }),
    },
  };
}

function toLayout(
  roots: readonly TestDescriptor[],
  blobs: ReadonlyMap<Digest, Buffer>,
  rest: Pick<Layout, "layers" | "manifests">,
): Layout {
  return { roots, blobs, ...rest, digest: roots[0]?.digest ?? "sha256:" };
}

function jsonBlob(
  json: unknown,
  digest: (bytes: Uint8Array) => Digest,
): { readonly digest: Digest; readonly bytes: Buffer } {
  const bytes = toJson(json);
  return { digest: digest(bytes), bytes };
}

function toJson(json: unknown): Buffer {
  return Buffer.from(JSON.stringify(json));
}
