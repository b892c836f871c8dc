/** Archives of image layouts as fast-check makes them: of every form that is right, and with changes that mostly are not. */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import type { Digest } from "../../src/digest.ts";
import { digestLike, randomBytes, sha256, sha512 } from "../support/bytes.ts";
import {
  type Layout,
  type LayoutOptions,
  type TarEntry,
  filesOf,
  joinLayouts,
  makeLayout,
  types,
  withoutPlatform,
} from "../support/layout.ts";
import { type RawEntry, base256, longNameEntry, paxEntry, rawTar } from "../support/raw-tar.ts";

/** Of sizes about those at which something changes: blocks of the tar, and parts of the store. */
const layers = [0, 1, 100, 511, 512, 513, 999, 1000, 1001, 3000].map((size) => randomBytes(size));

/** Each means another image. */
const names: readonly Pick<LayoutOptions, "name" | "refName">[] = [
  { refName: "1.0" },
  { refName: "latest" },
  { refName: "_V-1..x" },
  { name: "docker.io/library/app:1" },
  { name: "localhost:5000/team/app:1.4", refName: "1.4" },
  { name: "plain" },
  { name: "index.docker.io/a/b__c--d/e.f:T" },
  { name: `localhost/by/digest@sha256:${"0".repeat(64)}` },
  { refName: "ghcr.io/acme/app:1" },
  { refName: "library/one" },
  { refName: "2.0+build" },
  { refName: "team/of-builds:2.0+build" },
  { name: "GHCR.IO/acme/upper:1" },
  { name: "LOCALHOST:5000/upper:1" },
  { refName: "host:1/tagged:2@sha256:".concat("1".repeat(64)) },
  { name: `by/strong@sha512:${"0".repeat(128)}` },
];

const image = fc.record({
  layers: fc.array(fc.constantFrom(...layers), { maxLength: 4 }),
  platforms: fc.option(fc.shuffledSubarray(["linux/amd64", "linux/arm64/v8", "windows/amd64"], { minLength: 1 }), {
    nil: undefined,
  }),
  isSparse: fc.boolean(),
  label: fc.constantFrom("a", "b"),
  digest: fc.constantFrom<(bytes: Uint8Array) => Digest>(sha256, sha512, (bytes) =>
    (bytes.length % 2 ? sha256 : sha512)(bytes),
  ),
  levels: fc.integer({ min: 0, max: 3 }),
  manifest: fc.constantFrom(
    {},
    { mediaType: types.dockerManifest },
    { mediaType: undefined },
    { annotations: { "": "" } },
  ),
});

/** A layout of up to three images with names, and of one without. */
export const arbitraryLayout: fc.Arbitrary<Layout> = fc
  .record({
    named: fc.shuffledSubarray([...names], { minLength: 0, maxLength: 3 }),
    images: fc.array(image, { minLength: 4, maxLength: 4 }),
    hasUnnamed: fc.boolean(),
  })
  .map(({ named, images, hasUnnamed }) => {
    const all = hasUnnamed || named.length === 0 ? [...named, {}] : named;
    return joinLayouts(...all.map((name, i) => layoutOf({ ...images[i], ...name })));
  });

interface ImageRecipe extends Omit<LayoutOptions, "platforms"> {
  readonly platforms?: readonly string[] | undefined;
  readonly isSparse?: boolean;
  readonly levels?: number;
}

function layoutOf({ isSparse = false, levels = 0, platforms, ...options }: ImageRecipe): Layout {
  const whole = makeLayout({ ...options, ...(platforms && { platforms }) });
  const layout = isSparse && (platforms?.length ?? 0) > 1 ? withoutPlatform(whole, 0) : whole;
  return Array.from({ length: levels }).reduce<Layout>(insideIndex, layout);
}

/** An index that names nothing but the layout's own root, as the root in its place. */
function insideIndex(layout: Layout): Layout {
  const [root] = layout.roots;
  if (root === undefined) throw new Error("expected a root");
  const { annotations, ...child } = root;
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [child, child] }));
  const outer = {
    mediaType: types.index,
    digest: digestLike(root.digest, bytes),
    size: bytes.length,
    ...(annotations && { annotations }),
  };
  return { ...layout, roots: [outer], blobs: new Map([...layout.blobs, [outer.digest, bytes]]) };
}

/** How writers say the name and the size of a file. */
const headerForms: Readonly<Record<string, (name: string, bytes: Uint8Array) => readonly RawEntry[]>> = {
  ustar: (name, bytes) => [{ name, bytes }],
  v7: (name, bytes) => [{ name, bytes, magic: "\0".repeat(6), type: "\0" }],
  gnu: (name, bytes) => [longNameEntry(name), { name: "cut short", bytes, magic: "ustar " }],
  pax: (name, bytes) => [paxEntry({ path: name, size: String(bytes.length) }), { name: "cut short", bytes, size: 0 }],
  "pax with a comment": (name, bytes) => [
    paxEntry({ comment: "by hand" }, "g"),
    paxEntry({ mtime: "1.5" }),
    { name, bytes },
  ],
  binary: (name, bytes) => [{ name, bytes, size: base256(BigInt(bytes.length)) }],
  contiguous: (name, bytes) => [{ name, bytes, type: "7" }],
};

/** A longer name needs one of these forms, such as that of a SHA-512. */
const maxHeaderName = 100;
const longForms: readonly string[] = ["gnu", "pax"];

/** What archives hold besides, which no image needs. */
const extras: readonly RawEntry[] = [
  { name: "README", bytes: Buffer.from("by hand\n") },
  { name: "blobs/sha256/._apple", bytes: Buffer.from("x") },
  { name: "blobs/rootfs.tar", bytes: Buffer.from("rootfs") },
  { name: "blobs/sha256/README", bytes: Buffer.from("x") },
  { name: `blobs/sha256/${"ab".repeat(32)}`, type: "2", linkTarget: "../rootfs.tar" },
  { name: "blobs/sha384/x", bytes: Buffer.from("x") },
  { name: "to-blobs", type: "1", linkTarget: "blobs/rootfs.tar" },
  { name: "blobs/", type: "5" },
  { name: "blobs/sha256", type: "5" },
  { name: "blobs/sha512", type: "5" },
  { name: "link", type: "2", linkTarget: "README" },
  { name: "hard", type: "1", linkTarget: "nowhere" },
  { name: "pipe", type: "6" },
  { name: "manifest.json", bytes: Buffer.from("[]") },
  { name: "repositories", bytes: Buffer.from("{}") },
  { name: "label", type: "V" },
];

interface Form {
  readonly forms: readonly string[];
  readonly prefix: string;
  readonly order: readonly number[];
  readonly repeated: readonly number[];
  readonly extra: readonly RawEntry[];
}

const form: fc.Arbitrary<Form> = fc.record({
  forms: fc.array(fc.constantFrom(...Object.keys(headerForms)), { minLength: 1, maxLength: 5 }),
  prefix: fc.constantFrom("", "./", ".//./"),
  order: fc.array(fc.nat(), { maxLength: 20 }),
  repeated: fc.array(fc.nat(), { maxLength: 2 }),
  extra: fc.subarray([...extras]),
});

/** The entries of a layout's archive, in the forms and the order of writers that nobody has met yet. */
export const arbitraryEntries = (files: fc.Arbitrary<readonly TarEntry[]>): fc.Arbitrary<readonly RawEntry[]> =>
  fc.tuple(files, form).map(([own, { forms, prefix, order, repeated, extra }]) => {
    const twice = repeated.flatMap((i) => own[i % own.length] ?? []);
    const entries = [...own, ...twice].map(({ name, bytes }, i) => {
      const wanted = forms[i % forms.length] ?? "";
      const fitting = (prefix + name).length <= maxHeaderName || longForms.includes(wanted) ? wanted : "pax";
      return headerForms[fitting]?.(prefix + name, bytes) ?? [];
    });
    return shuffled([...entries, ...extra.map((entry) => [entry])], order).flat();
  });

/** In an order that the numbers decide. */
export function shuffled<T>(values: readonly T[], order: readonly number[]): T[] {
  const keyed = values.map((value, i) => ({ value, key: (order[i % order.length] ?? 0) % values.length }));
  return order.length === 0 ? [...values] : keyed.toSorted((a, b) => a.key - b.key).map(({ value }) => value);
}

/** How a tar is sent: as it is, as several members of gzip, or as several frames of zstd. */
export const arbitraryPacking: fc.Arbitrary<(tar: Buffer) => Buffer> = fc
  .record({
    how: fc.constantFrom("plain", "gzip", "zstd"),
    cuts: fc.array(fc.nat(), { maxLength: 2 }),
    zeros: fc.nat(3),
  })
  .map(({ how, cuts, zeros }) => (tar) => {
    const filled = Buffer.concat([tar, Buffer.alloc(512 * zeros)]);
    if (how === "plain") return filled;
    const at = cuts.map((cut) => cut % (filled.length + 1)).toSorted((a, b) => a - b);
    const pieces = [0, ...at].map((start, i) => filled.subarray(start, at[i] ?? filled.length));
    return Buffer.concat(pieces.map((piece) => (how === "gzip" ? gzipSync(piece, { level: 1 }) : zstdFrame(piece))));
  });

/** Uncompressed blocks of zstd (RFC 8878, section 3.1.1), behind a skippable frame. */
function zstdFrame(bytes: Buffer): Buffer {
  const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2]);
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0]);
  header.writeUInt32LE(bytes.length, 5);
  const starts = Array.from(
    { length: Math.max(1, Math.ceil(bytes.length / maxZstdBlock)) },
    (_, i) => i * maxZstdBlock,
  );
  const blocks = starts.map((start, i) => {
    const piece = bytes.subarray(start, start + maxZstdBlock);
    const word = piece.length * 8 + Number(i === starts.length - 1);
    return Buffer.concat([Buffer.from([word & 0xff, (word >> 8) & 0xff, word >> 16]), piece]);
  });
  return Buffer.concat([skippable, header, ...blocks]);
}

const maxZstdBlock = 4096;

/** What a `manifest.json` beside the index calls the first image, if there is one. */
const dockerNames = fc.option(fc.subarray(["app:1", "docker.io/library/one:latest", "team/docker:2"]), {
  nil: undefined,
});

function filesWithNames([layout, RepoTags]: [Layout, readonly string[] | undefined]): readonly TarEntry[] {
  const [digest = "sha256:"] = layout.manifests;
  const bytes = layout.blobs.get(digest);
  if (RepoTags === undefined || bytes === undefined) return filesOf(layout);
  const { config } = JSON.parse(bytes.toString()) as { config: { digest: Digest } };
  const named = { Config: `blobs/${config.digest.replace(":", "/")}`, RepoTags, Layers: [] };
  return [...filesOf(layout), { name: "manifest.json", bytes: Buffer.from(JSON.stringify([named])) }];
}

/** An archive that is right in every way. */
export const arbitraryArchive: fc.Arbitrary<Buffer> = fc
  .tuple(arbitraryEntries(fc.tuple(arbitraryLayout, dockerNames).map(filesWithNames)), arbitraryPacking)
  .map(([entries, pack]) => printedBriefly(pack(rawTar(entries))));

/** Printed by its length where a test fails: its seed makes it again. */
export function printedBriefly(body: Buffer): Buffer {
  return Object.assign(body, { [fc.toStringMethod]: () => `an archive of ${body.length} bytes` });
}

/** Sizes of the chunks in which a body comes. */
export const arbitraryChunkSizes = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 20_000 })),
  {
    minLength: 1,
    maxLength: 4,
  },
);
