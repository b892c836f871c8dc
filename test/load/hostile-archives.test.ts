import { gzipSync } from "node:zlib";
import { ListMultipartUploadsCommand } from "@aws-sdk/client-s3";
import { beforeAll, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import type { Limits } from "../../src/limits.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { chunksOf, cutAt, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { compareReaders } from "../support/compare-readers.ts";
import {
  type Layout,
  type TestDescriptor,
  filesOf,
  joinLayouts,
  makeLayout,
  types,
  withBadBlob,
  withBlob,
  withoutBlob,
} from "../support/layout.ts";
import { type RawEntry, base256, paxEntry, rawTar } from "../support/raw-tar.ts";
import { visibleState } from "../support/visible-state.ts";
import { zstdFrame } from "../support/zstd.ts";
import { makeS3Store, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { openLayout } from "../support/open-layout.ts";

/** Blobs larger than this are streamed. */
const partBytes = 1000;
const small = randomBytes(100, 1);
const large = randomBytes(5000, 2);
const layout = makeLayout({ layers: [small, large], name: "app:1", label: "new" });
const [smallDigest = "sha256:", largeDigest = "sha256:"] = layout.layers;
const [root = { mediaType: "", digest: "sha256:", size: 0 }] = layout.roots;
/** The layer of the one and the manifest of the other are in no archive here. */
const unseenLayer = makeLayout({ layers: [randomBytes(50, 3)], name: "app:1" });
const unseenManifest = makeLayout({ layers: [small], name: "app:1", label: "unseen" });
const pathOf = (digest: Digest): string => `blobs/${digest.replace(":", "/")}`;
const hex = "ab".repeat(32);

/** The entries of a layout, with others put in front, behind, or in the place of those of the same name. */
interface Changes {
  readonly of?: Layout;
  readonly first?: readonly RawEntry[];
  readonly last?: readonly RawEntry[];
  readonly replaced?: readonly RawEntry[];
  readonly omit?: readonly string[];
}

function archive({ of = layout, first = [], last = [], replaced = [], omit = [] }: Changes): Buffer {
  const files = filesOf(of).filter(({ name }) => !omit.includes(name));
  const kept = files.map((file): RawEntry => replaced.find(({ name }) => name === file.name) ?? file);
  return rawTar([...first, ...kept, ...last]);
}

const json = (value: unknown): Buffer => Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
const file = (name: string, value: unknown): RawEntry => ({
  name,
  bytes: value instanceof Uint8Array ? value : json(value),
});
const withIndex = (value: unknown): Buffer => archive({ replaced: [file("index.json", value)] });
const withRoots = (...manifests: unknown[]): Buffer => withIndex({ schemaVersion: 2, manifests });
const withLayoutFile = (value: unknown): Buffer => archive({ replaced: [file("oci-layout", value)] });

/** The layout with another manifest in its place, whose fields are over those of an image's. */
function withManifest(fields: Readonly<Record<string, unknown>>): Buffer {
  return archive({ of: makeLayout({ layers: [small, large], name: "app:1", manifest: fields }) });
}

/** An index of this content as the root, beside the blobs of the layout. */
function withRootBlob(bytes: Uint8Array, descriptor: Partial<TestDescriptor> = {}): Buffer {
  const own = { mediaType: types.index, digest: sha256(bytes), size: bytes.length, ...descriptor };
  return archive({ of: { ...withBlob(layout, bytes), roots: [own] } });
}

/** An index that names nothing but one below it, and so on down to the image. */
function nested(levels: number): Buffer {
  const blobs = new Map(layout.blobs);
  let roots: readonly TestDescriptor[] = [root];
  for (let level = 0; level < levels; level++) {
    const bytes = json({ schemaVersion: 2, mediaType: types.index, manifests: roots });
    roots = [{ mediaType: types.index, digest: sha256(bytes), size: bytes.length }];
    blobs.set(sha256(bytes), bytes);
  }
  return archive({ of: { ...layout, roots, blobs } });
}

interface Hostile {
  readonly bytes: Buffer;
  readonly code: string;
  readonly message: RegExp;
  readonly limits?: Partial<Limits>;
}

const refused = (bytes: Buffer, code: string, message: RegExp, limits: Partial<Limits> = {}): Hostile => ({
  bytes,
  code,
  message,
  limits,
});
const whole = archive({});

const damaged: Readonly<Record<string, Hostile>> = {
  "an empty body": refused(Buffer.alloc(0), "ARCHIVE_INVALID", /it is empty/),
  "a web page": refused(Buffer.from("<!doctype html><p>Sign in"), "ARCHIVE_INVALID", /it looks like a web page/),
  "an archive of nothing": refused(rawTar([]), "INDEX_INVALID", /no index\.json/),
  "an archive cut in a header": refused(whole.subarray(0, 700), "ARCHIVE_INVALID", /cut short in or after "blobs/),
  "an archive cut in a blob": refused(whole.subarray(0, 3000), "ARCHIVE_INVALID", /cut short in or after "blobs/),
  "an archive cut before its end": refused(whole.subarray(0, -1024), "ARCHIVE_INVALID", /in or after "oci-layout"/),
  "an archive cut in the padding of a blob": refused(
    whole.subarray(0, 512 + 300),
    "ARCHIVE_INVALID",
    /cut short in or after "blobs/,
  ),
  "an archive cut in its index": refused(
    whole.subarray(0, whole.indexOf("index.json") + 600),
    "ARCHIVE_INVALID",
    /cut short in or after "index\.json"/,
  ),
  "zstd cut short": refused(zstdFrame(whole).subarray(0, -5), "ARCHIVE_INVALID", /zstd/),
  "gzip cut short": refused(gzipSync(whole).subarray(0, -5), "ARCHIVE_INVALID", /Cannot decompress the gzip body/),
  "garbage behind it": refused(
    Buffer.concat([whole, small]),
    "ARCHIVE_INVALID",
    /other bytes follow the end of the tar/,
  ),
  "another archive behind it": refused(Buffer.concat([whole, whole]), "ARCHIVE_INVALID", /other bytes follow the end/),
  "garbage behind its gzip": refused(Buffer.concat([gzipSync(whole), small]), "ARCHIVE_INVALID", /gzip/),
  "a header with a wrong checksum": refused(
    archive({ last: [{ name: "x", spoil: (header) => header.write("y") }] }),
    "ARCHIVE_INVALID",
    /what follows "oci-layout" in the archive: it is no header of a tar/,
  ),
  "a million entries": refused(
    archive({ first: Array.from({ length: 1000 }, (_, i) => ({ name: `${i}` })) }),
    "LIMIT_EXCEEDED",
    /it has 1001 entries or more, at most 1000 are allowed \(maxEntries\)/,
    { maxEntries: 1000 },
  ),
  "a bomb": refused(
    gzipSync(archive({ last: [{ name: "zeros", bytes: Buffer.alloc(66 * 1024 * 1024) }] }), { level: 1 }),
    "LIMIT_EXCEEDED",
    /\(maxExpansionRatio\)/,
  ),
  "more than may come out of a compressed body": refused(
    gzipSync(whole),
    "LIMIT_EXCEEDED",
    /Cannot decompress the gzip body: it expands to \d+ bytes or more, at most 4000 are allowed \(maxExpandedBytes\)/,
    { maxExpandedBytes: 4000 },
  ),
  "an extended header of more than a mebibyte": refused(
    archive({ last: [{ name: "x", type: "x", size: 1024 * 1024 + 1 }] }),
    "LIMIT_EXCEEDED",
    /an extended header has 1048577 bytes, at most 1048576 are allowed/,
  ),
  "a body that is xz": refused(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0]), "ARCHIVE_INVALID", /xz-compressed/),
  "long extended headers": refused(
    archive({ last: [paxEntry({ comment: "c".repeat(2000) }), { name: "x" }] }),
    "LIMIT_EXCEEDED",
    /\(maxPaxBytes\)/,
    { maxPaxBytes: 1000 },
  ),
};

const sized = (size: RawEntry["size"]): Buffer =>
  archive({ replaced: [{ name: pathOf(largeDigest), bytes: large, ...(size !== undefined && { size }) }] });

const blobs: Readonly<Record<string, Hostile>> = {
  "a small blob whose digest lies": refused(archive({ of: withBadBlob(layout, smallDigest) }), "DIGEST_INVALID", /./),
  "a large blob whose digest lies": refused(archive({ of: withBadBlob(layout, largeDigest) }), "DIGEST_INVALID", /./),
  "a manifest whose digest lies": refused(archive({ of: withBadBlob(layout, layout.digest) }), "DIGEST_INVALID", /./),
  "a blob that is shorter than its digest": refused(
    archive({ of: withBadBlob(layout, largeDigest, large.subarray(1)) }),
    "DIGEST_INVALID",
    /its 4999 bytes have digest/,
  ),
  "a size that is too small": refused(sized(4096), "DIGEST_INVALID", /its 4096 bytes have digest/),
  "a size that is too large": refused(sized(5632), "DIGEST_INVALID", /its 5632 bytes have digest/),
  "a size that takes in all that follows": refused(sized(1_000_000), "ARCHIVE_INVALID", /cut short/),
  "a size beyond 2^53": refused(sized(base256(2n ** 60n)), "ARCHIVE_INVALID", /beyond 2\^53/),
  "a negative size": refused(sized(base256(-1n)), "ARCHIVE_INVALID", /negative/),
  "a blob twice, the second another": refused(
    archive({ last: [file(pathOf(smallDigest), randomBytes(100, 9))] }),
    "DIGEST_INVALID",
    /./,
  ),
  "a blob twice, the second shorter": refused(
    archive({ last: [file(`./${pathOf(smallDigest)}`, small.subarray(1))] }),
    "DIGEST_INVALID",
    /./,
  ),
};

const among = (entry: RawEntry): Buffer => archive({ last: [{ bytes: Buffer.alloc(0), ...entry }] });

const names: Readonly<Record<string, Hostile>> = {
  "path traversal": refused(among({ name: `blobs/sha256/../../${hex}` }), "ARCHIVE_INVALID", /has a "\.\." in it/),
  "an absolute name": refused(among({ name: `/blobs/sha256/${hex}` }), "ARCHIVE_INVALID", /is absolute/),
  backslashes: refused(among({ name: `blobs\\sha256\\${hex}` }), "ARCHIVE_INVALID", /has a backslash in it/),
};

const inPlace = (type: string, linkTarget?: string): Buffer =>
  archive({
    omit: [pathOf(smallDigest)],
    last: [{ name: pathOf(smallDigest), type, ...(linkTarget && { linkTarget }) }],
  });

const kinds: Readonly<Record<string, Hostile>> = {
  "a symbolic link out of blobs": refused(
    inPlace("2", "../../secret"),
    "ARCHIVE_INVALID",
    /Cannot take "blobs\/sha256\/[0-9a-f]{64}": found a symlink, expected a file; `tar -h/,
  ),
  "a hard link out of blobs": refused(inPlace("1", "secret"), "ARCHIVE_INVALID", /found a link, expected a file; `tar/),
  "a folder of blobs that is a link, and its blobs not there": refused(
    rawTar([{ name: "blobs/sha256", type: "2", linkTarget: "/shared" }, ...filesOf(layout).slice(-2)]),
    "ARCHIVE_INVALID",
    /Cannot take "blobs\/sha256": found a symlink, expected a file; `tar -h/,
  ),
  "a device": refused(inPlace("3"), "ARCHIVE_INVALID", /found a character-device, expected a file/),
  "a block device": refused(inPlace("4"), "ARCHIVE_INVALID", /found a block-device, expected a file/),
  "a fifo": refused(inPlace("6"), "ARCHIVE_INVALID", /found a fifo, expected a file/),
  "a directory": refused(inPlace("5"), "ARCHIVE_INVALID", /found a directory, expected a file/),
  "an unknown type": refused(inPlace("Z"), "ARCHIVE_INVALID", /found an entry of an unknown type, expected a file/),
  "a sparse blob of pax": refused(
    archive({ last: [paxEntry({ "GNU.sparse.major": "1" }), { name: `blobs/sha256/${hex}` }] }),
    "UNSUPPORTED",
    /it is a sparse file/,
  ),
  "a sparse blob": refused(inPlace("S"), "UNSUPPORTED", /it is a sparse file/),
  "an index.json that is a link": refused(
    among({ name: "index.json", type: "2", linkTarget: "x" }),
    "ARCHIVE_INVALID",
    /found a symlink, expected a file/,
  ),
  "an index.json that is a directory": refused(
    among({ name: "index.json/", type: "5" }),
    "ARCHIVE_INVALID",
    /found a directory, expected a file/,
  ),
};

const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;

const indexes: Readonly<Record<string, Hostile>> = {
  "no index.json": refused(archive({ omit: ["index.json"] }), "INDEX_INVALID", /no index\.json/),
  "an index.json that is no JSON": refused(withIndex("{"), "INDEX_INVALID", /Cannot read index\.json as JSON/),
  "an index.json that is empty": refused(withIndex(""), "INDEX_INVALID", /as JSON/),
  "an index.json that is no UTF-8": refused(withIndex(Buffer.from([0x7b, 0xff])), "INDEX_INVALID", /as JSON/),
  "an index.json of lists in lists": refused(withIndex(deep), "INDEX_INVALID", /Cannot read index\.json/),
  "an index.json of schema 1": refused(
    withIndex({ schemaVersion: 1, manifests: [root] }),
    "INDEX_INVALID",
    /schemaVersion is 1/,
  ),
  "an index.json without a schema": refused(
    withIndex({ manifests: [root] }),
    "INDEX_INVALID",
    /schemaVersion is nothing/,
  ),
  "an index.json of text as a schema": refused(
    withIndex({ schemaVersion: "2", manifests: [root] }),
    "INDEX_INVALID",
    /schemaVersion is "2"/,
  ),
  "an index.json without images": refused(withRoots(), "INDEX_INVALID", /names no image/),
  "an index.json that is too large": refused(
    whole,
    "LIMIT_EXCEEDED",
    /Cannot read index\.json: .*\(maxManifestBytes\)/,
    { maxManifestBytes: 100 },
  ),
  "a second index.json": refused(
    archive({ last: [file("index.json", "{}")] }),
    "INDEX_INVALID",
    /twice, with different content/,
  ),
  "a second ./index.json": refused(archive({ last: [file("./index.json", "{}")] }), "INDEX_INVALID", /twice/),
  "a second oci-layout": refused(archive({ last: [file("oci-layout", "{}")] }), "ARCHIVE_INVALID", /twice/),
  "an oci-layout of version 2": refused(
    withLayoutFile({ imageLayoutVersion: "2.0.0" }),
    "UNSUPPORTED",
    /found imageLayoutVersion "2\.0\.0", expected "1\.0\.0"/,
  ),
  "an oci-layout without a version": refused(withLayoutFile({}), "ARCHIVE_INVALID", /found imageLayoutVersion nothing/),
  "an oci-layout that is no JSON": refused(
    withLayoutFile("1.0.0\n"),
    "ARCHIVE_INVALID",
    /Cannot read oci-layout as JSON/,
  ),
  "an oci-layout that is too large": refused(
    withLayoutFile({ imageLayoutVersion: "1.0.0", more: "x".repeat(4096) }),
    "LIMIT_EXCEEDED",
    /Cannot read oci-layout: it has \d+ bytes, at most 4096 are allowed$/, // no setting changes that
  ),
  "an oci-layout that is a list": refused(withLayoutFile([]), "ARCHIVE_INVALID", /found a list/),
};

const sha384 = { mediaType: types.manifest, digest: `sha384:${hex}${hex.slice(32)}`, size: 100 };

const smallLayer = { mediaType: types.layer, digest: smallDigest, size: small.length };

const elsewhere = {
  mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  urls: ["https://example.org/layer"],
};

const descriptors: Readonly<Record<string, Hostile>> = {
  "that is no object": refused(withRoots("sha256:ab"), "INDEX_INVALID", /expected a descriptor/),
  "without a digest": refused(withRoots({ ...root, digest: undefined }), "DIGEST_INVALID", /found nothing/),
  "with a short digest": refused(withRoots({ ...root, digest: "sha256:ab" }), "DIGEST_INVALID", /found "sha256:ab"/),
  "with an upper-case digest": refused(
    withRoots({ ...root, digest: `sha256:${hex.toUpperCase()}` }),
    "DIGEST_INVALID",
    /lower-case/,
  ),
  "with a path in its digest": refused(
    withRoots({ ...root, digest: `sha256:../${hex.slice(3)}` }),
    "DIGEST_INVALID",
    /found/,
  ),
  "with a sha384 digest": refused(withRoots({ ...root, digest: sha384.digest }), "UNSUPPORTED", /found "sha384:/),
  "with a sha512 digest of 64 digits": refused(
    withRoots({ ...root, digest: `sha512:${hex}` }),
    "DIGEST_INVALID",
    /expected "sha256:" and 64 lower-case hex digits, or "sha512:" and 128 lower-case hex digits$/,
  ),
  "without a size": refused(withRoots({ ...root, size: undefined }), "SIZE_INVALID", /found nothing/),
  "with a negative size": refused(withRoots({ ...root, size: -1 }), "SIZE_INVALID", /found -1/),
  "with a fractional size": refused(withRoots({ ...root, size: 1.5 }), "SIZE_INVALID", /found 1\.5/),
  "with a size beyond 2^53": refused(withRoots({ ...root, size: 2 ** 53 }), "SIZE_INVALID", /from 0 to 2\^53-1/),
  "with text as a size": refused(withRoots({ ...root, size: "350" }), "SIZE_INVALID", /found "350"/),
  "with another size": refused(withRoots({ ...root, size: 1 }), "SIZE_INVALID", /with 1 bytes, found \d+ bytes/),
  "of a manifest that nobody has": refused(
    archive({ of: withoutBlob(unseenManifest, unseenManifest.digest) }),
    "MANIFEST_BLOB_UNKNOWN",
    /which was not sent and is not in the store$/,
  ),
  "of a layer that nobody has": refused(
    archive({ of: withoutBlob(unseenLayer, unseenLayer.layers[0]) }),
    "MANIFEST_BLOB_UNKNOWN",
    /was not sent/,
  ),
  "of a layer with another size": refused(
    withManifest({ layers: [{ mediaType: types.layer, digest: smallDigest, size: 99 }] }),
    "SIZE_INVALID",
    /with 99 bytes, found 100 bytes/,
  ),
  "of a layer with a negative size": refused(
    withManifest({ layers: [{ mediaType: types.layer, digest: smallDigest, size: -1 }] }),
    "SIZE_INVALID",
    /found -1/,
  ),
  "of a layer with a sha384 digest": refused(
    withManifest({ layers: [sha384] }),
    "UNSUPPORTED",
    /Cannot read the digest of layers\[0\] of sha256.*: found "sha384:.*", expected "sha256:" and 64/,
  ),
  "of a config with a sha384 digest": refused(
    withManifest({ config: sha384 }),
    "UNSUPPORTED",
    /Cannot read the digest of the config of sha256.*found "sha384:/,
  ),
  "of a subject with a sha384 digest": refused(
    withManifest({ subject: sha384 }),
    "UNSUPPORTED",
    /Cannot read the digest of the subject of sha256.*found "sha384:/,
  ),
  "of a manifest with a sha384 digest": refused(
    withRootBlob(json({ schemaVersion: 2, manifests: [root, sha384] })),
    "UNSUPPORTED",
    /Cannot read the digest of manifests\[1\] of sha256.*found "sha384:/,
  ),
  "of a layer with text as urls": refused(
    withManifest({ layers: [{ ...smallLayer, urls: "https://example.org" }] }),
    "MANIFEST_INVALID",
    /Cannot read the urls of layers\[0\] of sha256:.*: found "https:\/\/example.org", expected a list of strings/,
  ),
  "of a platform with a number": refused(
    withRootBlob(json({ schemaVersion: 2, manifests: [{ ...root, platform: { os: 1 } }] })),
    "MANIFEST_INVALID",
    /Cannot read the platform of manifests\[0\] of sha256/,
  ),
  "of a manifest with a number as its artifactType": refused(
    withManifest({ artifactType: 1 }),
    "MANIFEST_INVALID",
    /Cannot read the artifactType of sha256:.*: found 1, expected a string/,
  ),
  "of a layer with other data": refused(
    withManifest({ layers: [{ ...smallLayer, data: Buffer.alloc(small.length).toString("base64") }] }),
    "DIGEST_INVALID",
    /the data that it has for "sha256:.*" has the digest "sha256:/,
  ),
  "of a layer with data that is cut short": refused(
    withManifest({ layers: [{ ...smallLayer, data: Buffer.from(small.subarray(1)).toString("base64") }] }),
    "SIZE_INVALID",
    /has 99 bytes, expected 100/,
  ),
  "of a layer with data that is no base64": refused(
    withManifest({ layers: [{ ...smallLayer, data: "===" }] }),
    "MANIFEST_INVALID",
    /is no base64/,
  ),
  "of a subject with other data": refused(
    withManifest({ subject: { ...smallLayer, data: "e30=" } }),
    "SIZE_INVALID",
    /has 2 bytes, expected 100/,
  ),
  "of a layer without a digest": refused(
    withManifest({ layers: [{ mediaType: types.layer, size: 1 }] }),
    "DIGEST_INVALID",
    /layers\[0\] of sha256/,
  ),
  "of a layer to be had elsewhere that is here with another size": refused(
    withManifest({ layers: [{ ...elsewhere, digest: smallDigest, size: 99 }] }),
    "SIZE_INVALID",
    /names ".*" with 99 bytes, found 100 bytes/,
  ),
};

const artifactType = "application/vnd.oci.artifact.manifest.v1+json";

const manifests: Readonly<Record<string, Hostile>> = {
  "that is no JSON": refused(withRootBlob(Buffer.from("{")), "MANIFEST_INVALID", /as JSON/),
  "of Docker's schema 1": refused(
    withManifest({ schemaVersion: 1, fsLayers: [] }),
    "UNSUPPORTED",
    /it is a manifest of Docker's schema 1, expected schema 2/,
  ),
  "of schema 1": refused(withManifest({ schemaVersion: 1 }), "MANIFEST_INVALID", /schemaVersion is 1, expected 2/),
  "of another media type": refused(withManifest({ mediaType: types.config }), "MANIFEST_INVALID", /its mediaType is/),
  "without a config": refused(withManifest({ config: undefined }), "MANIFEST_INVALID", /expected a descriptor/),
  "without layers": refused(withManifest({ layers: undefined }), "MANIFEST_INVALID", /no list of layers/),
  "that is an index too": refused(withManifest({ manifests: [] }), "MANIFEST_INVALID", /expected either/),
  "of the former type of artifacts": refused(
    withRootBlob(json({ mediaType: artifactType, artifactType: "a/b", blobs: [] })),
    "UNSUPPORTED",
    /Cannot take sha256.*: it is of the former type application\/vnd\.oci\.artifact\.manifest\.v1\+json, expected/,
  ),
  "of that type by its descriptor alone": refused(
    withRootBlob(json({ artifactType: "a/b", blobs: [] }), { mediaType: artifactType }),
    "UNSUPPORTED",
    /it is of the former type/,
  ),
  "with a number as an annotation": refused(
    withManifest({ annotations: { year: 2026 } }),
    "MANIFEST_INVALID",
    /found 2026 as the annotation "year", expected a string/,
  ),
  "with a list of annotations": refused(
    withManifest({ layers: [{ ...root, annotations: ["a"] }] }),
    "MANIFEST_INVALID",
    /found a list as annotations, expected an object/,
  ),
  "of lists in lists": refused(withRootBlob(json(deep)), "MANIFEST_INVALID", /Cannot read sha256/),
  "that is too large": refused(
    withRootBlob(json({ schemaVersion: 2, x: "x".repeat(2000) })),
    "LIMIT_EXCEEDED",
    /names the manifest .* with 2\d+ bytes, at most 1000 are allowed \(maxManifestBytes\)/,
    { maxManifestBytes: 1000 },
  ),
  "that is larger than it says": refused(
    withRootBlob(json({ schemaVersion: 2, x: "x".repeat(2000) }), { size: 10 }),
    "SIZE_INVALID",
    /with 10 bytes, found 2\d+ bytes/,
    { maxManifestBytes: 1000 },
  ),
  "too deep": refused(
    nested(10),
    "LIMIT_EXCEEDED",
    /nested in too many levels, at most 8 are allowed \(maxIndexDepth\)/,
  ),
};

const named = (name: string): Buffer => archive({ of: makeLayout({ layers: [small], name }) });
const tagged = (refName: string): Buffer => archive({ of: makeLayout({ layers: [small], refName }) });

const repositories: Readonly<Record<string, Hostile>> = {
  "in upper case": refused(named("Team/App:1"), "NAME_INVALID", /Cannot use "Team\/App" as a repository name/),
  "with dots": refused(named("../../blobs:1"), "NAME_INVALID", /Cannot use/),
  "of the store's own": refused(named("a/_layout/b:1"), "NAME_INVALID", /Cannot use/),
  "with a slash in front": refused(named("/app:1"), "NAME_INVALID", /Cannot use/),
  "with an empty tag": refused(named("app:"), "NAME_INVALID", /Cannot use "" as a tag/),
  "with a tag of spaces": refused(named("app:a b"), "NAME_INVALID", /Cannot use "a b" as a tag/),
  "that is empty": refused(named(""), "NAME_INVALID", /Cannot use ""/),
  "that is a tag of spaces": refused(tagged("a tag"), "NAME_INVALID", /Cannot use "a tag" as a tag/),
  "that is an empty tag": refused(tagged(""), "NAME_INVALID", /Cannot use "" as a tag/),
  "that is a number": refused(
    withRoots({ ...root, annotations: { "org.opencontainers.image.ref.name": 1.4 } }),
    "INDEX_INVALID",
    /found 1\.4 as the annotation "org\.opencontainers\.image\.ref\.name", expected a string/,
  ),
  "that two images have": refused(
    archive({ of: joinLayouts(layout, makeLayout({ layers: [large], name: "docker.io/library/app:1" })) }),
    "INDEX_INVALID",
    /Cannot name two images "app:1"/,
  ),
};

const groups = { damaged, blobs, names, kinds, indexes, descriptors, manifests, repositories };

/** Every kind in this many requests to a real server, the rest in memory alone. */
const onServers: readonly string[] = [
  "a bomb",
  "garbage behind it",
  "an archive cut in a blob",
  "a large blob whose digest lies",
  "a small blob whose digest lies",
  "a size that takes in all that follows",
  "a blob twice, the second another",
  "path traversal",
  "a device",
  "a second index.json",
  "of a layer that nobody has",
  "that is no JSON",
  "that two images have",
];

async function load(
  store: ObjectStore,
  source: AsyncIterable<Uint8Array>,
  limits: Partial<Limits> = {},
): Promise<Receipt> {
  return loadArchive(openLayout(store, limits), source);
}

/** Puts an image there, under the name that the hostile ones want. */
async function settle(store: ObjectStore): Promise<void> {
  await load(store, chunksOf(archive({ of: makeLayout({ layers: [small], name: "app:1", label: "old" }) }), 1000));
}

async function expectUnchanged(
  store: ObjectStore,
  { bytes, code, message, limits }: Hostile,
  chunk = 333,
): Promise<void> {
  const before = await visibleState(store);
  await expect(load(store, chunksOf(bytes, chunk), limits)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message) as string,
  });
  expect(await visibleState(store)).toEqual(before);
}

describe.each(Object.entries(groups))("loadArchive, of hostile %s", (_, cases) => {
  let store: MemoryStore;
  beforeAll(async () => settle((store = new MemoryStore({ partBytes }))));

  it.each(Object.entries(cases))("%s: publishes nothing", async (__, hostile) => {
    await compareReaders(hostile.bytes);
    await expectUnchanged(store, hostile, hostile.bytes.length > 1_000_000 ? 65_536 : 333);
    await expectUnchanged(store, hostile, 1_000_000);
  });
});

describe("loadArchive, of what is unusual and right", () => {
  const fresh = (): MemoryStore => new MemoryStore({ partBytes });

  it.each<[string, Buffer]>([
    ["the same blob and the same index.json twice", archive({ last: filesOf(layout) })],
    [
      "the same once more with ./",
      archive({ last: filesOf(layout).map((entry) => ({ ...entry, name: `./${entry.name}` })) }),
    ],
    ["no oci-layout", archive({ omit: ["oci-layout"] })],
    ["an oci-layout of a later version 1", withLayoutFile({ imageLayoutVersion: "1.1.0", more: true })],
    [
      "slashes and dots in its names",
      archive({
        replaced: [{ ...file(pathOf(smallDigest), small), name: `.//blobs/./sha256//${smallDigest.slice(7)}` }],
      }),
    ],
    [
      "what file managers leave",
      archive({
        last: [{ name: "blobs/sha256/.DS_Store" }, { name: `blobs/sha256/._${hex}` }, { name: "._index.json" }],
      }),
    ],
    [
      "devices and links elsewhere",
      archive({
        last: [
          { name: "dev/null", type: "3" },
          { name: "x", type: "2", linkTarget: "/etc/passwd" },
          { name: "y", type: "6" },
        ],
      }),
    ],
    [
      "folders among the blobs",
      archive({
        first: [
          { name: "blobs/", type: "5" },
          { name: "blobs/sha256/", type: "5" },
          { name: "blobs/sha512/", type: "5" },
        ],
      }),
    ],
    ["an index eight levels deep", nested(8)],
  ])("takes an archive with %s", async (_, bytes) => {
    const store = fresh();
    await compareReaders(bytes);
    await load(store, chunksOf(bytes, 333));
    for (const [digest, blob] of layout.blobs) {
      const object = await store.get(pathOf(digest));
      expect(object && sha256(await readAll(object.body))).toBe(sha256(blob));
    }
  });

  it("lists a volume's label as it is called, in a layout and in a docker-archive", async () => {
    const label: RawEntry = { name: "/backup of../index.json", type: "V" };
    const config = json({ rootfs: { diff_ids: [] } });
    const images = [{ Config: "config.json", RepoTags: ["app:1"], Layers: [] }];
    const dockerArchive = rawTar([label, file("config.json", config), file("manifest.json", images)]);
    for (const bytes of [archive({ first: [label] }), dockerArchive]) {
      const { ignored } = await load(fresh(), chunksOf(bytes, 333));
      expect(ignored).toEqual([{ path: label.name, reason: "a volume-label, not a file" }]);
    }
  });

  it("takes folders that say a size", async () => {
    const folders = [
      { name: "blobs/", type: "5", size: 4096 },
      { name: "blobs/sha256/", type: "5", size: 4096 },
    ];
    const { images } = await load(fresh(), chunksOf(archive({ first: folders }), 333));
    expect(images).toMatchObject([{ digest: layout.digest }]);
  });

  it("loads a small one cut anywhere, plain and as gzip", async () => {
    const one = makeLayout({ layers: [Buffer.from("x")], name: "app:1" });
    const tar = archive({ of: one });
    const store = fresh();
    for (const bytes of [tar, gzipSync(tar)]) {
      for (let at = 0; at <= bytes.length; at++) {
        expect((await load(store, cutAt(bytes, at))).images).toMatchObject([{ digest: one.digest, reference: "1" }]);
      }
    }
  });

  it("publishes nothing of a small one that ends anywhere before its end", async () => {
    const tar = archive({ of: makeLayout({ layers: [Buffer.from("x")], name: "app:1" }) });
    const store = fresh();
    await settle(store);
    const before = await visibleState(store);
    for (const bytes of [tar.subarray(0, -512), gzipSync(tar)]) {
      for (let length = 0; length < bytes.length; length++) {
        await expect(load(store, chunksOf(bytes.subarray(0, length), 5000))).rejects.toMatchObject({
          code: "ARCHIVE_INVALID",
        });
      }
    }
    expect(await visibleState(store)).toEqual(before);
  });
});

await describeS3Servers("loadArchive, of hostile archives", (server) => {
  it("publishes nothing, leaves nothing behind, and takes a good one then", async () => {
    const store = await makeS3Store(server);
    await settle(store);
    const all: Readonly<Record<string, Hostile>> = Object.assign({}, ...Object.values(groups));
    for (const title of onServers) {
      const hostile = all[title];
      if (hostile === undefined) throw new Error(`expected a case "${title}"`);
      await expectUnchanged(store, hostile, 65_536);
    }
    const prefix = store.url.slice(`s3://${testBucket}/`.length);
    const { Uploads = [] } = await createS3Client(s3Environment(server)).send(
      new ListMultipartUploadsCommand({ Bucket: testBucket, Prefix: prefix }),
    );
    expect(Uploads).toEqual([]);
    expect((await load(store, chunksOf(whole, 65_536))).images).toMatchObject([{ status: "updated" }]);
  });
});
