import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, it } from "vitest";
import { blobKey } from "../../src/layout/keys.ts";
import { defaultLimits } from "../../src/limits.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf, randomBytes, sha256, stallAfter } from "../support/bytes.ts";
import {
  type Layout,
  indexFirst,
  joinLayouts,
  makeLayout,
  reversed,
  tarOf,
  types,
  withBadBlob,
  withBlob,
  withoutBlob,
  withoutPlatform,
} from "../support/layout.ts";
import { type LoadBytesOptions, bytesAt, decorate, keysOf, loadBytes, watchPuts } from "../support/loading.ts";

/** Blobs larger than this are streamed. */
const partBytes = 1000;
const small = randomBytes(100, 1);
const large = randomBytes(5000, 2);

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore({ partBytes });
});

function load(
  bytes: Uint8Array | AsyncIterable<Uint8Array>,
  { store: into = store, ...options }: LoadBytesOptions & { readonly store?: ObjectStore } = {},
): Promise<Receipt> {
  return loadBytes(bytes instanceof Uint8Array ? chunksOf(bytes, 333) : bytes, into, options);
}

const bytesOf = async (key: string): Promise<Buffer> => bytesAt(store, key);
const indexes = async (): Promise<string[]> => (await keysOf(store)).filter((key) => key.endsWith("index.json"));

async function expectStored({ blobs }: Layout): Promise<void> {
  for (const [digest, bytes] of blobs) expect(sha256(await bytesOf(blobKey(digest))), digest).toBe(sha256(bytes));
}

describe("loadArchive", () => {
  const layout = makeLayout({ layers: [small, large], name: "docker.io/team/app:1.4" });

  it("stores every blob and publishes the image under its name", async () => {
    const receipt = await load(await tarOf(layout));
    expect(receipt.images).toEqual([
      {
        repository: "team/app",
        reference: "1.4",
        digest: layout.digest,
        mediaType: types.manifest,
        size: layout.blobs.get(layout.digest)?.length,
        status: "created",
      },
    ]);
    expect(receipt.blobs.map(({ digest, status }) => [digest, status])).toEqual(
      [...layout.blobs.keys()].map((digest) => [digest, "written"]),
    );
    await expectStored(layout);
    expect(await indexes()).toEqual(["repositories/team/app/_layout/index.json"]);
    expect(JSON.parse((await bytesOf("repositories/team/app/_layout/oci-layout")).toString())).toEqual({
      imageLayoutVersion: "1.0.0",
    });
  });

  it.each([
    ["the index first", { order: indexFirst }],
    ["everything backwards", { order: reversed }],
    ["names with ./ and directories", { prefix: "./", directories: true }],
    ["gzip", { compress: "gzip" as const }],
  ])("takes an archive with %s", async (_, options) => {
    const receipt = await load(await tarOf(layout, options));
    expect(receipt.images[0]?.digest).toBe(layout.digest);
    expect(receipt.ignored).toEqual([]);
    await expectStored(layout);
  });

  it("counts the bytes as they came", async () => {
    const bytes = gzipSync(await tarOf(layout));
    const { bytes: counted } = await load(bytes);
    const total = [...layout.blobs.values()].reduce((sum, blob) => sum + blob.length, 0);
    expect(counted).toEqual({ received: bytes.length, written: total, present: 0, repaired: 0 });
  });

  it("writes nothing when it is loaded again, and asks only for what is there", async () => {
    await load(await tarOf(layout));
    const { images, blobs, requests } = await load(await tarOf(layout));
    expect(images).toMatchObject([{ status: "unchanged" }]);
    expect(new Set(blobs.map(({ status }) => status))).toEqual(new Set(["present"]));
    expect(requests).toEqual({ head: layout.blobs.size, get: 2, put: 0, part: 0, copy: 0, list: 1, delete: 0 });
  });

  it("moves a tag and says from where", async () => {
    const next = makeLayout({ layers: [small], label: "next", name: "team/app:1.4" });
    await load(await tarOf(layout));
    expect((await load(await tarOf(next))).images).toMatchObject([
      { reference: "1.4", digest: next.digest, status: "updated", previous: layout.digest },
    ]);
  });

  it("replaces a damaged object and reports it", async () => {
    await store.put(blobKey(layout.layers[0] ?? "sha256:"), Buffer.from("cut sh"));
    await store.put(blobKey(layout.layers[1] ?? "sha256:"), Buffer.from("cut sh"));
    const { blobs, totals, bytes } = await load(await tarOf(layout));
    expect(blobs.slice(0, 2).map(({ status }) => status)).toEqual(["repaired", "repaired"]);
    expect(totals).toMatchObject({ written: 2, present: 0, repaired: 2 });
    const written = [...layout.blobs.values()].slice(2).reduce((sum, { length }) => sum + length, 0);
    expect(bytes).toMatchObject({ written, present: 0, repaired: small.length + large.length });
    await expectStored(layout);
  });

  it("stores a blob once that the archive holds twice", async () => {
    const extra = [{ name: `blobs/${(layout.layers[0] ?? "").replace(":", "/")}`, bytes: small }];
    const { blobs } = await load(await tarOf(layout, { extra }));
    expect(blobs).toHaveLength(layout.blobs.size);
  });

  it("lists what no image needs", async () => {
    const extra = [
      { name: "manifest.json", bytes: Buffer.from("[]") },
      { name: "blobs/sha256/.DS_Store", bytes: small },
      { name: "notes.txt", bytes: small },
    ];
    expect((await load(await tarOf(layout, { extra }))).ignored).toEqual([
      { path: "manifest.json", reason: "says in Docker's way what index.json says" },
      { path: "blobs/sha256/.DS_Store", reason: "not part of an image layout" },
      { path: "notes.txt", reason: "not part of an image layout" },
    ]);
  });

  it("takes what it lacks from the store", async () => {
    await load(await tarOf(layout));
    const next = makeLayout({ layers: [small, large, randomBytes(10, 3)], name: "team/app:2" });
    const { images } = await load(await tarOf(withoutBlob(next, ...layout.layers)));
    expect(images).toMatchObject([{ reference: "2", status: "created" }]);
  });

  it("takes layers that are only to be had elsewhere", async () => {
    const foreign = {
      mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      digest: sha256(randomBytes(9)),
      size: 9,
      urls: ["https://example.org/layer"],
    };
    const image = makeLayout({ refName: "w", manifest: { layers: [foreign] } });
    expect((await load(await tarOf(withoutBlob(image, ...image.layers)))).images).toMatchObject([{ reference: "w" }]);
  });

  it("goes by a manifest's bytes, whatever its descriptor calls it", async () => {
    const mislabeled = makeLayout({ refName: "linuxkit/init:1", root: { mediaType: types.index } });
    expect((await load(await tarOf(mislabeled))).images).toMatchObject([
      { repository: "linuxkit/init", mediaType: types.manifest },
    ]);
    const docker = makeLayout({ refName: "d", manifest: { mediaType: types.dockerManifest } });
    expect((await load(await tarOf(docker))).images).toMatchObject([{ mediaType: types.dockerManifest }]);
    const silent = makeLayout({ refName: "s", manifest: { mediaType: undefined } });
    expect((await load(await tarOf(silent))).images).toMatchObject([{ mediaType: types.manifest }]);
  });

  it("refuses a manifest whose layers are no list", async () => {
    await expectRefused(makeLayout({ manifest: { layers: "none" } }), "MANIFEST_INVALID");
  });

  it("takes an image without layers, also where null stands for none as BuildKit writes it", async () => {
    for (const layers of [[], null]) {
      const empty = makeLayout({ layers: [], manifest: { layers } });
      expect((await load(await tarOf(empty))).images).toMatchObject([{ digest: empty.digest }]);
    }
  });

  it("takes null for nothing, as Go's readers do, where a manifest or an index need not have it", async () => {
    const nulls = { mediaType: null, subject: null, annotations: null, artifactType: null };
    const image = makeLayout({ layers: [small], manifest: { ...nulls, manifests: null } });
    expect((await load(await tarOf(image))).images).toMatchObject([{ digest: image.digest }]);
    const index = { schemaVersion: 2, ...nulls, config: null, layers: null, manifests: image.roots };
    const bytes = Buffer.from(JSON.stringify(index));
    const roots = [{ mediaType: types.index, digest: sha256(bytes), size: bytes.length }];
    const { images } = await load(await tarOf({ ...withBlob(image, bytes), roots }));
    expect(images).toMatchObject([{ digest: sha256(bytes), mediaType: types.index }]);
  });

  it("holds no more at once than its budget", async () => {
    const layers = Array.from({ length: 50 }, (_, i) => randomBytes(900, i));
    const image = makeLayout({ layers, refName: "many" });
    const held = watchPuts(store);
    await load(await tarOf(image), { store: held.store, limits: { maxBufferBytes: 4000 } });
    expect(held.mostBytes).toBeGreaterThan(2 * 900);
    expect(held.mostBytes).toBeLessThanOrEqual(4000);
    await expectStored(image);
  });

  it("stops reading while the store is slow", async () => {
    const layers = Array.from({ length: 400 }, (_, i) => randomBytes(900, i));
    const bytes = await tarOf(makeLayout({ layers, refName: "many" }));
    let read = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunksOf(bytes, 2000)) {
        read += chunk.length;
        yield chunk;
      }
    }
    const stuck: ObjectStore = decorateBlobs(store, () => new Promise(() => undefined));
    void load(source(), { store: stuck });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(read).toBeGreaterThan(32 * 900);
    expect(read).toBeLessThan(bytes.length / 2);
  });
});

describe("loadArchive, with an index of several platforms", () => {
  const layout = makeLayout({ layers: [small], platforms: ["linux/amd64", "linux/arm64"], refName: "app:1" });

  it("publishes the index", async () => {
    const { images } = await load(await tarOf(layout));
    expect(images).toMatchObject([
      { repository: "app", reference: "1", digest: layout.digest, mediaType: types.index },
    ]);
    expect(images[0]).not.toHaveProperty("absent");
  });

  it("takes a sparse one and lists what is absent", async () => {
    const { images } = await load(await tarOf(withoutPlatform(layout, 1)));
    expect(images).toMatchObject([{ digest: layout.digest, absent: [{ digest: layout.manifests[1] }] }]);
  });

  it("refuses one of which nothing is there", async () => {
    await expectRefused(withoutPlatform(withoutPlatform(layout, 0), 1), "MANIFEST_BLOB_UNKNOWN");
  });

  it("refuses one with a manifest that lacks a layer", async () => {
    await expectRefused(withoutBlob(layout, layout.layers[2]), "MANIFEST_BLOB_UNKNOWN");
  });

  it("refuses indexes nested too deep", async () => {
    await expect(
      load(await tarOf(nested(4)), { limits: { ...defaultLimits, maxIndexDepth: 3 } }),
    ).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
    expect(
      (await load(await tarOf(nested(3)), { limits: { ...defaultLimits, maxIndexDepth: 3 } })).images,
    ).toHaveLength(1);
  });

  it("lists an absent manifest once, however often it is named", async () => {
    const layout2 = makeLayout({ layers: [small], platforms: ["linux/amd64", "linux/arm64"] });
    const [root] = layout2.roots;
    const manifests = Array.from({ length: 20_000 }, () => root);
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests }));
    const outer = { mediaType: types.index, digest: sha256(bytes), size: bytes.length };
    const blobs = new Map([...layout2.blobs, [outer.digest, bytes]]);
    const { images } = await load(await tarOf(withoutPlatform({ ...layout2, roots: [outer], blobs }, 1)));
    expect(images[0]?.absent).toEqual([
      expect.objectContaining({ digest: layout2.manifests[1], platform: { os: "linux", architecture: "arm64" } }),
    ]);
  });

  it("visits a manifest once that is named in a million ways", async () => {
    expect((await load(await tarOf(nested(7, 10)))).images).toMatchObject([{ status: "created" }]);
  });
});

function annotated(layout: Layout, annotations: object): Layout {
  const roots = layout.roots.map((root) => ({ ...root, annotations: { ...root.annotations, ...annotations } }));
  return { ...layout, roots };
}

describe("loadArchive, naming", () => {
  const one = makeLayout({ layers: [small], name: "docker.io/library/app:1", refName: "1" });
  const other = makeLayout({ layers: [large], name: "localhost:5000/other:2", refName: "2" });
  const plain = makeLayout({ layers: [small], label: "plain" });
  /** By the digest of another manifest, as an index's when one of its images was saved alone: it is not gone by. */
  const byDigest = makeLayout({ name: `docker.io/library/app@${plain.digest}` });
  const badByDigest = makeLayout({ name: `Team/App@${plain.digest}` });
  const namesOf = ({ images }: Receipt): string[] =>
    images.map(({ repository, reference }) => `${repository}:${reference}`);

  it.each([
    ["containerd's name", one, undefined, "app:1"],
    ["a reference as ref.name", makeLayout({ refName: "localhost/team/app:3" }), undefined, "team/app:3"],
    [
      "a reference with a foreign registry",
      makeLayout({ refName: "ghcr.io/acme/app:3" }),
      undefined,
      "ghcr.io/acme/app:3",
    ],
    ["a host and a port", makeLayout({ name: "registry.example:5000/team/app:3" }), undefined, "team/app:3"],
    ["a name without a tag", makeLayout({ name: "docker.io/team/app" }), undefined, "team/app:latest"],
    ["a digest as the reference", byDigest, undefined, `app:${byDigest.digest}`],
    ["a tag and a digest", makeLayout({ name: `app:1@${plain.digest}` }), undefined, "app:1"],
    ["a name that is none, where the request replaces it", makeLayout({ name: "My App:1.4" }), "team/x", "team/x:1.4"],
    ["no tag of such a name", makeLayout({ name: "docker.io/Team/App" }), "team/x", "team/x:latest"],
    ["a ref.name that is none, likewise", makeLayout({ refName: "Team/App:1.4" }), "team/x", "team/x:1.4"],
    ["a digest in such a name", badByDigest, "team/x", `team/x:${badByDigest.digest}`],
    ["nothing in the archive but the request", makeLayout({ name: "My App:a tag" }), "team/x:2", "team/x:2"],
    ["a tag as ref.name", makeLayout({ refName: "1.4" }), undefined, "images:1.4"],
    ["no name at all", plain, undefined, `images:${plain.digest}`],
    ["a repository in the request", one, "team/x", "team/x:1"],
    ["a repository in the request, without a tag", plain, "team/x", `team/x:${plain.digest}`],
    ["a whole name in the request", one, "team/x:9", "team/x:9"],
    ["the default repository in the request", one, "images:9", "images:9"],
  ])("goes by %s", async (_, layout, name, expected) => {
    expect(namesOf(await load(await tarOf(layout), name === undefined ? {} : { name }))).toEqual([expected]);
  });

  it("publishes several images, each under its own name", async () => {
    const receipt = await load(await tarOf(joinLayouts(one, other)));
    expect(namesOf(receipt)).toEqual(["app:1", "other:2"]);
    expect(await indexes()).toHaveLength(2);
  });

  it("publishes several names of one image, and writes each repository's index once", async () => {
    const second = {
      ...one,
      roots: one.roots.map((root) => ({ ...root, annotations: { "io.containerd.image.name": "app:2" } })),
    };
    const { requests, ...receipt } = await load(await tarOf(joinLayouts(one, second, one)));
    expect(namesOf(receipt as Receipt)).toEqual(["app:1", "app:2"]);
    expect(requests.put).toBe(one.blobs.size + 2); // the repository's oci-layout and its index
  });

  it("refuses one name for two images, also where the request gives it", async () => {
    await expectRefused(joinLayouts(one, makeLayout({ layers: [large], name: "app:1" })), "INDEX_INVALID");
    await expectRefused(joinLayouts(one, other), "INDEX_INVALID", "team/x:1");
  });

  it("lets referrers go along by digest with an image that the request names", async () => {
    const [subject] = one.roots;
    const signature = makeLayout({ layers: [randomBytes(5)], ...(subject !== undefined && { subject }) });
    const receipt = await load(await tarOf(joinLayouts(one, signature)), { name: "team/x:1" });
    expect(namesOf(receipt)).toEqual(["team/x:1", `team/x:${signature.digest}`]);
  });

  it.each([
    ["a whole name in the request", "team/x:1", ["team/x:1", "team/x"]],
    ["a repository in the request", "team/x", ["team/x:1", "team/x"]],
    ["the image's own name", undefined, ["app:1", "app"]],
  ])("tags what cosign has saved beside an image as cosign looks for it, with %s", async (_, name, [image, beside]) => {
    const cosign = (kind: string): object => ({ kind: `dev.cosignproject.cosign/${kind}` });
    const saved = joinLayouts(
      annotated(one, cosign("image")),
      annotated(makeLayout({ layers: [randomBytes(5)] }), cosign("sigs")),
      annotated(makeLayout({ layers: [randomBytes(6)] }), cosign("atts")),
    );
    const tag = one.digest.replace(":", "-");
    const receipt = await load(await tarOf(saved), name === undefined ? {} : { name });
    expect(namesOf(receipt)).toEqual([image, `${beside}:${tag}.sig`, `${beside}:${tag}.att`]);
  });

  it("holds the image to a condition, and not what cosign has saved beside it", async () => {
    const cosign = (layout: Layout, kind: string): Layout =>
      annotated(layout, { kind: `dev.cosignproject.cosign/${kind}` });
    const signed = async (image: Layout): Promise<Buffer> =>
      tarOf(joinLayouts(cosign(image, "image"), cosign(makeLayout({ label: image.digest }), "sigs")));
    await load(await signed(one), { name: "team/x:1", expects: "absent" });
    const receipt = await load(await signed(other), { name: "team/x:1", expects: { digest: one.digest } });
    expect(namesOf(receipt)).toEqual(["team/x:1", `team/x:${other.digest.replace(":", "-")}.sig`]);
  });

  it("does not guess which of two images cosign has signed", async () => {
    const saved = [one, other].map((layout) => annotated(layout, { kind: "dev.cosignproject.cosign/image" }));
    const signature = makeLayout({ layers: [randomBytes(5)] });
    const layout = joinLayouts(...saved, annotated(signature, { kind: "dev.cosignproject.cosign/sigs" }));
    expect(namesOf(await load(await tarOf(layout)))).toEqual(["app:1", "other:2", `images:${signature.digest}`]);
  });

  it("gives a referrer a tag that the request wants for it, if there is nothing else", async () => {
    const [subject] = one.roots;
    const artifact = (seed: number): Layout =>
      makeLayout({ layers: [randomBytes(5, seed)], ...(subject && { subject }) });
    const [sbom, another] = [artifact(1), artifact(2)];
    const [about = { mediaType: "", digest: "sha256:", size: 0 }] = sbom.roots;
    const signature = makeLayout({ layers: [randomBytes(6)], subject: about });
    await load(await tarOf(one), { name: "team/x:1" });
    expect(namesOf(await load(await tarOf(sbom), { name: "team/x:2" }))).toEqual(["team/x:2"]);
    const signed = await load(await tarOf(joinLayouts(signature, sbom)), { name: "team/x:3" });
    expect(namesOf(signed)).toEqual([`team/x:${signature.digest}`, "team/x:3"]);
    expect(namesOf(await load(await tarOf(sbom), { name: "team/x" }))).toEqual([`team/x:${sbom.digest}`]);
    await expect(load(await tarOf(joinLayouts(sbom, another)), { name: "team/x:2" })).rejects.toMatchObject({
      code: "INDEX_INVALID",
      message: expect.stringContaining("nothing but referrers; expected an image, one referrer, or no tag") as string,
    });
  });

  it("does not take an index's manifests for images, where the archive names them beside it as ORAS does", async () => {
    const index = makeLayout({ layers: [small], platforms: ["linux/amd64", "linux/arm64"], refName: "app:1" });
    const manifests = index.manifests.map((digest) => ({
      mediaType: types.manifest,
      digest,
      size: index.blobs.get(digest)?.length ?? 0,
    }));
    const listed = await tarOf({ ...index, roots: [...manifests, ...index.roots] });
    expect(namesOf(await load(listed, { name: "team/x:1" }))).toEqual(["team/x:1"]);
    expect(namesOf(await load(listed))).toEqual(["app:1"]);
  });

  it("publishes a manifest of an index that has a name of its own, or says something about another", async () => {
    const [subject] = one.roots;
    const referring = subject === undefined ? {} : { subject };
    const index = makeLayout({ layers: [small], platforms: ["linux/amd64"], refName: "app:1", ...referring });
    const [digest = "sha256:"] = index.manifests;
    const manifest = { mediaType: types.manifest, digest, size: index.blobs.get(digest)?.length ?? 0 };
    const annotations = { "org.opencontainers.image.ref.name": "app:1-amd64" };
    const roots = [...index.roots, { ...manifest, annotations }, manifest];
    const receipt = await load(await tarOf({ ...index, roots }));
    expect(namesOf(receipt)).toEqual(["app:1", "app:1-amd64", `images:${digest}`]);
  });

  it("refuses a name that is none", async () => {
    await expectRefused(makeLayout({ name: "docker.io/Team/App:1" }), "NAME_INVALID");
    await expectRefused(makeLayout({ refName: "a tag" }), "NAME_INVALID");
    await expect(load(await tarOf(makeLayout({ name: "Team/App:1" })))).rejects.toThrow(
      /^Cannot use "Team\/App" .*; the tarball names an image "Team\/App:1"; \/v1\/load\/NAME:TAG gives it another name$/,
    );
    await expectRefused(makeLayout({ refName: "a tag" }), "NAME_INVALID", "team/x");
    await expectRefused(makeLayout({ name: "App:a tag" }), "NAME_INVALID", "team/x");
  });
});

describe("loadArchive, of what is wrong", () => {
  const layout = makeLayout({ layers: [small, large], name: "app:1" });
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const withIndex = async (bytes: Uint8Array): Promise<Buffer> =>
    tarOf(layout, {
      order: (entries) => entries.map((entry) => (entry.name === "index.json" ? { ...entry, bytes } : entry)),
    });

  it("refuses a small and a large blob whose digest lies, and stores neither", async () => {
    for (const digest of layout.layers) {
      store = new MemoryStore({ partBytes });
      await expectRefused(withBadBlob(layout, digest), "DIGEST_INVALID");
      expect(await keysOf(store)).not.toContain(blobKey(digest));
    }
  });

  it("refuses a blob whose digest lies also where the store has the right one", async () => {
    await load(await tarOf(layout));
    await expect(load(await tarOf(withBadBlob(layout, layout.layers[1])))).rejects.toMatchObject({
      code: "DIGEST_INVALID",
    });
    await expectStored(layout);
  });

  it("refuses a manifest that names what is nowhere, or with another size", async () => {
    await expectRefused(withoutBlob(layout, layout.digest), "MANIFEST_BLOB_UNKNOWN");
    const gone = makeLayout({ layers: [small, randomBytes(50, 9)], refName: "x" });
    await expectRefused(withoutBlob(gone, gone.layers[1]), "MANIFEST_BLOB_UNKNOWN");
    const layers = [{ mediaType: types.layer, digest: layout.layers[0], size: 99 }];
    await expectRefused(makeLayout({ layers: [small], refName: "x", manifest: { layers } }), "SIZE_INVALID");
    await expectRefused(makeLayout({ refName: "x", root: { size: 1 } }), "SIZE_INVALID");
  });

  it.each([
    ["no JSON", Buffer.from("{"), "INDEX_INVALID"],
    ["no object", json([]), "INDEX_INVALID"],
    ["another schema", json({ schemaVersion: 1, manifests: [] }), "INDEX_INVALID"],
    ["an image manifest", json({ schemaVersion: 2, config: layout.roots[0], layers: [] }), "INDEX_INVALID"],
    ["no images", json({ schemaVersion: 2, manifests: [] }), "INDEX_INVALID"],
    ["no digest", json({ schemaVersion: 2, manifests: [{ mediaType: types.manifest, size: 1 }] }), "DIGEST_INVALID"],
    ["a short digest", json({ schemaVersion: 2, manifests: [{ digest: "sha256:ab", size: 1 }] }), "DIGEST_INVALID"],
    ["sha384", json({ schemaVersion: 2, manifests: [{ digest: `sha384:${"a".repeat(96)}`, size: 1 }] }), "UNSUPPORTED"],
    ["a negative size", json({ schemaVersion: 2, manifests: [{ digest: layout.digest, size: -1 }] }), "SIZE_INVALID"],
    ["half a byte", json({ schemaVersion: 2, manifests: [{ digest: layout.digest, size: 1.5 }] }), "SIZE_INVALID"],
  ])("refuses an index.json with %s", async (_, bytes, code) => {
    await expect(load(await withIndex(bytes))).rejects.toMatchObject({ code });
    expect(await indexes()).toEqual([]);
  });

  it("refuses an index.json that is too large", async () => {
    await expect(
      load(await tarOf(layout), { limits: { ...defaultLimits, maxManifestBytes: 50 } }),
    ).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
    expect(await indexes()).toEqual([]);
  });

  it("refuses a manifest that is too large, also one that the archive brings", async () => {
    const image = makeLayout({
      layers: Array.from({ length: 30 }, (_, i) => randomBytes(10, i + 1)),
      refName: "image",
    });
    await expect(
      load(await tarOf(image), { store: new MemoryStore(), limits: { ...defaultLimits, maxManifestBytes: 1000 } }),
    ).rejects.toMatchObject({ code: "LIMIT_EXCEEDED", message: expect.stringContaining("at most 1000 are allowed") });
    expect(await indexes()).toEqual([]);
  });

  it("refuses an archive with neither index.json nor manifest.json", async () => {
    await expect(load(await tarOf(layout, { omit: ["index.json"] }))).rejects.toThrow(
      "found no index.json at its top, and no manifest.json",
    );
  });

  it("publishes nothing from an archive that is cut short anywhere, and goes on from there the next time", async () => {
    const bytes = await tarOf(layout, { order: indexFirst });
    for (let length = 0; length < bytes.length - 1024; length += 700) {
      await expect(load(bytes.subarray(0, length))).rejects.toMatchObject({ code: "ARCHIVE_INVALID" });
      expect(await indexes()).toEqual([]);
    }
    const { blobs } = await load(bytes);
    expect(blobs.some(({ status }) => status === "present")).toBe(true);
    await expectStored(layout);
  });

  it("does not wait for good for a blob that the store has left half read", async () => {
    const careless = decorate(store, {
      async write(_key, { body }) {
        for await (const _ of body) break;
        return { outcome: "written", parts: 0 };
      },
    });
    await expect(load(await tarOf(layout), { store: careless })).rejects.toThrow("to its end");
    expect(await indexes()).toEqual([]);
  });

  it("says what is published already if a second repository cannot be", async () => {
    const failing = decorate(store, {
      put: (key, ...rest) => (key.includes("/other/") ? Promise.reject(new Error("no more")) : store.put(key, ...rest)),
    });
    const two = joinLayouts(layout, makeLayout({ layers: [small], label: "b", name: "other:1" }));
    await expect(load(await tarOf(two), { store: failing })).rejects.toThrow("no more; published already: app:1");
  });

  it("lists no more than a thousand entries that no image needs", async () => {
    const extra = Array.from({ length: 1010 }, (_, i) => ({ name: `extra/${i}`, bytes: Buffer.from("") }));
    expect((await load(await tarOf(layout, { extra }))).ignored).toHaveLength(1000);
  });

  it("publishes nothing if the store fails, ends the reading at once and passes the error", async () => {
    for (const layer of [small, large]) {
      const image = makeLayout({ layers: [layer, randomBytes(2000, 7)], refName: "x" });
      const failing = decorateBlobs(store, () => Promise.reject(new Error("the disk is on fire")));
      const bytes = (await tarOf(image)).subarray(0, 8000); // and nothing more for now
      await expect(load(stallAfter(bytes), { store: failing })).rejects.toThrow("the disk is on fire");
      expect(await indexes()).toEqual([]);
    }
  });

  it("ends a load that stalls when it is told to", async () => {
    const controller = new AbortController();
    const bytes = (await tarOf(withBlob(layout, randomBytes(9000, 4)))).subarray(0, 5000);
    const loading = load(stallAfter(bytes), { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("the service stops")), 20);
    await expect(loading).rejects.toThrow("the service stops");
    expect(await indexes()).toEqual([]);
  });
});

async function expectRefused(layout: Layout, code: string, name?: string): Promise<void> {
  await expect(load(await tarOf(layout), name === undefined ? {} : { name })).rejects.toMatchObject({ code });
  expect(await indexes()).toEqual([]);
}

/** An image in so many indexes, each of which names the one below it several times. */
function nested(depth: number, times = 1): Layout {
  let layout = makeLayout({ layers: [small] });
  for (let level = 0; level < depth; level++) {
    const manifests = Array.from({ length: times }, () => layout.roots[0]);
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests }));
    const root = { mediaType: types.index, digest: sha256(bytes), size: bytes.length };
    layout = { ...layout, roots: [root], digest: root.digest, blobs: new Map([...layout.blobs, [root.digest, bytes]]) };
  }
  return layout;
}

/** A store that does something else instead of writing blobs. */
function decorateBlobs(inner: ObjectStore, instead: () => Promise<never>): ObjectStore {
  return decorate(inner, {
    put: async (key, ...rest) => (key.startsWith("blobs/") ? instead() : inner.put(key, ...rest)),
    write: instead,
  });
}
