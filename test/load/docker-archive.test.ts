/** Docker-archives: all forms, in any order, with links, staged or not, and what is wrong with them. */
import { gzipSync } from "node:zlib";
import { beforeEach, describe, expect, it } from "vitest";
import { blobKey } from "../../src/layout/keys.ts";
import { probeStore } from "../../src/layout/probe-store.ts";
import { defaultLimits } from "../../src/limits.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import {
  type DockerEntry,
  archiveOf,
  configOf,
  digestNamedForms,
  dockerForms,
  expectedManifest,
  makeDockerArchive,
  manifestOf,
  packed,
  packEntries,
  toJson,
  withEntry,
} from "../support/docker-archive.ts";
import { filesOf, makeLayout, types } from "../support/layout.ts";
import { type LoadEntriesOptions, bytesAt, keysOf, loadBytes, loadEntries } from "../support/loading.ts";

/** Layers larger than this are streamed, or staged. */
const partBytes = 1000;
const small = randomBytes(100, 1);
const large = randomBytes(5000, 2);
/** The large layer comes twice, as layers without a change do. */
const image = { layers: [small, large, large], repoTags: ["docker.io/team/app:1.4"] };

let store: MemoryStore;
beforeEach(async () => {
  store = new MemoryStore({ partBytes });
  await probeStore(store); // else the first load's own probe, which outlives it, could be found under staging/
});

const load = (entries: readonly DockerEntry[], options: LoadEntriesOptions = {}): Promise<Receipt> =>
  loadEntries(entries, store, options);

async function expectNothingPublished(): Promise<void> {
  expect((await keysOf(store)).filter((key) => key.endsWith("index.json"))).toEqual([]);
  expect(await keysOf(store, "staging/")).toEqual([]);
}

async function expectRefused(
  archive: readonly DockerEntry[],
  error: object,
  options: LoadEntriesOptions = {},
): Promise<void> {
  await expect(load(archive, options)).rejects.toMatchObject(error);
  await expectNothingPublished();
}

const namesOf = ({ images }: Receipt): string[] =>
  images.map(({ repository, reference }) => `${repository}:${reference}`);

describe.each(dockerForms)("loadArchive, of a docker-archive by %s", (form) => {
  const archive = makeDockerArchive(form, image);
  const manifest = expectedManifest(form, image);

  it("makes an OCI manifest of its parts and publishes it under its name", async () => {
    const receipt = await load(archive);
    expect(receipt.images).toEqual([
      {
        repository: "team/app",
        reference: "1.4",
        digest: sha256(manifest),
        mediaType: types.manifest,
        size: manifest.length,
        status: "created",
      },
    ]);
    const parts = [packed(form, small), packed(form, large), configOf(image), manifest];
    for (const bytes of parts) expect(sha256(await bytesAt(store, blobKey(sha256(bytes))))).toBe(sha256(bytes));
    expect(await keysOf(store, "blobs/")).toEqual(parts.map((bytes) => blobKey(sha256(bytes))).toSorted());
    expect(await keysOf(store, "staging/")).toEqual([]);
    expect(receipt.blobs.map(({ digest }) => digest).toSorted()).toEqual(parts.map(sha256).toSorted());
    expect(receipt.ignored).toEqual([]);
  });

  it(digestNamedForms.has(form) ? "stages nothing" : "stages the large layer", async () => {
    const { requests, blobs } = await load(archive);
    const staged = digestNamedForms.has(form) ? 0 : form === "crane legacy" ? 2 : 1; // of two copies one is dropped
    expect(requests).toMatchObject({ copy: Math.min(1, staged), delete: staged });
    expect(blobs.map(({ status }) => status)).toEqual(Array(4).fill("written"));
  });

  it("writes nothing when it is loaded again", async () => {
    await load(archive);
    const { images, blobs, requests } = await load(archive);
    expect(images).toMatchObject([{ status: "unchanged", digest: sha256(manifest) }]);
    expect(blobs.map(({ status }) => status)).toEqual(Array(4).fill("present"));
    const stagings = requests.delete; // bytes without a name have to lie somewhere
    expect(requests).toMatchObject({ put: stagings, copy: 0, part: 0 });
  });

  it("takes its entries in any order, and split anywhere", async () => {
    for (let i = 0; i < archive.length; i++) {
      store = new MemoryStore({ partBytes });
      const turned = [...archive.slice(i), ...archive.slice(0, i)];
      const order = i % 2 === 0 ? turned : turned.toReversed();
      const receipt = await load(order, { chunkBytes: [1, 7, 511, 512, 513, 4099][i % 6] ?? 1 });
      expect(receipt.images).toMatchObject([{ digest: sha256(manifest) }]);
      expect(await keysOf(store, "staging/")).toEqual([]);
    }
  });

  it("takes it compressed, and with ./ before each name", async () => {
    const dotted = archive.map((entry) => ({ ...entry, name: `./${entry.name}` }));
    const bytes = gzipSync(await packEntries(dotted));
    expect((await loadBytes(chunksOf(bytes, 100), store)).images).toMatchObject([{ digest: sha256(manifest) }]);
  });

  it("publishes nothing from an archive that is cut short anywhere", async () => {
    const bytes = await packEntries(archive);
    for (let length = 600; length < bytes.length - 1024; length += 1300) {
      await expect(loadBytes(chunksOf(bytes.subarray(0, length), 512), store)).rejects.toMatchObject({
        code: "ARCHIVE_INVALID",
      });
      await expectNothingPublished();
    }
  });
});

describe("loadArchive, of a docker-archive with several images", () => {
  const one = { layers: [small, large], repoTags: ["app:1", "localhost:5000/team/app:one"] };
  const two = { layers: [small, large], repoTags: ["app:2"], label: "two" };
  const nameless = { layers: [large], repoTags: null };

  it.each(dockerForms.filter((form) => form !== "jib"))("publishes each under each of its names (%s)", async (form) => {
    const receipt = await load(makeDockerArchive(form, one, two, nameless));
    const digest = sha256(expectedManifest(form, nameless));
    expect(namesOf(receipt)).toEqual(["app:1", "app:2", "team/app:one", `images:${digest}`]);
    expect(receipt.images.map(({ digest: found }) => found).toSorted()).toEqual(
      [one, one, two, nameless].map((each) => sha256(expectedManifest(form, each))).toSorted(),
    );
  });

  it("takes an image that is called nothing for one without a name", async () => {
    const unnamed = { layers: [large], repoTags: ["<none>:<none>"] };
    expect(namesOf(await load(makeDockerArchive("docker", unnamed)))).toEqual([
      `images:${sha256(expectedManifest("docker", unnamed))}`,
    ]);
  });

  it("takes a name from the request for one image with several names, and for no more", async () => {
    expect(namesOf(await load(makeDockerArchive("docker", one), { name: "x/y:3" }))).toEqual(["x/y:3"]);
    expect(namesOf(await load(makeDockerArchive("docker", one), { name: "x/y" }))).toEqual(["x/y:1", "x/y:one"]);
    store = new MemoryStore({ partBytes });
    await expectRefused(makeDockerArchive("docker", one, two), { code: "INDEX_INVALID" }, { name: "x/y:3" });
  });

  it("refuses one name for two images, and a name that is none", async () => {
    await expectRefused(makeDockerArchive("docker", one, { ...two, repoTags: ["app:1"] }), { code: "INDEX_INVALID" });
    await expectRefused(makeDockerArchive("docker", { ...one, repoTags: ["App:1"] }), { code: "NAME_INVALID" });
  });

  it("refuses more than a thousand images, and more than ten thousand names", async () => {
    const manifest = Array.from({ length: 1001 }, () => ({ Config: "config.json", Layers: null }));
    const entries = [{ name: "manifest.json", bytes: toJson(manifest) }];
    await expectRefused(entries, { code: "LIMIT_EXCEEDED", detail: { found: 1001, expected: 1000 } });
    const named = makeDockerArchive("docker", { ...one, repoTags: Array.from({ length: 10_001 }, () => "app:1") });
    await expectRefused(named, { code: "LIMIT_EXCEEDED", detail: { found: 10_001, expected: 10_000 } });
  });
});

describe("loadArchive, of layers in a docker-archive", () => {
  const zstd = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), small]);

  it.each([
    ["gzip", gzipSync(small), `${types.layer}+gzip`],
    ["zstd", zstd, `${types.layer}+zstd`],
    ["nothing", small, types.layer],
  ])("tells by the first bytes that one is compressed with %s", async (_, layer, mediaType) => {
    for (const name of ["1/layer.tar", `${sha256(layer).slice(7)}.tar`]) {
      const { images } = await load(archiveOf(configOf({ layers: [small] }), { name, bytes: layer }));
      expect(images[0]?.digest).toBe(sha256(manifestOf(configOf({ layers: [small] }), [layer], mediaType)));
    }
  });

  it("tells so too where only the store has it", async () => {
    await store.put(blobKey(sha256(zstd)), zstd);
    const name = `${sha256(zstd).slice(7)}.tar`;
    const archive = archiveOf(configOf({ layers: [small] }), { name, bytes: zstd });
    const receipt = await load(archive.filter((entry) => entry.name !== name));
    const expected = sha256(manifestOf(configOf({ layers: [small] }), [zstd], `${types.layer}+zstd`));
    expect(receipt.images[0]?.digest).toBe(expected);
    expect((await load(archive)).images[0]?.digest).toBe(expected);
  });

  it("takes an image without layers, and an empty layer", async () => {
    const none = makeDockerArchive("docker", { layers: [], repoTags: ["none:1"] });
    expect(namesOf(await load(none))).toEqual(["none:1"]);
    const empty = { layers: [Buffer.alloc(0)], repoTags: ["empty:1"] };
    expect((await load(makeDockerArchive("docker", empty))).images[0]?.digest).toBe(
      sha256(expectedManifest("docker", empty)),
    );
  });

  it.each(["layer", "layer0", "layer.bin", "a/b/layer"])(
    "takes one that is called %s, and a config without .json",
    async (name) => {
      for (const bytes of [small, large]) {
        store = new MemoryStore({ partBytes });
        const archive = archiveOf(configOf({ layers: [bytes] }), { name, bytes });
        const manifest = toJson([{ Config: "config", RepoTags: [], Layers: [name] }]);
        const renamed = archive.map((entry) => (entry.name === "config.json" ? { ...entry, name: "config" } : entry));
        const { images, ignored } = await load(withEntry(renamed, { name: "manifest.json", bytes: manifest }));
        expect(images[0]?.digest).toBe(sha256(manifestOf(configOf({ layers: [bytes] }), [bytes], types.layer)));
        expect(ignored).toEqual([]);
        expect(await keysOf(store, "staging/")).toEqual([]);
      }
    },
  );

  it("takes no other file of a folder for one: a root file system would fill the store", async () => {
    const archive = archiveOf(configOf({ layers: [small] }), { name: "usr/bin/env", bytes: small });
    await expectRefused(archive, {
      code: "MANIFEST_BLOB_UNKNOWN",
      message: expect.stringContaining('"usr/bin/env", which is not in the archive as a file that can be a layer'),
    });
    expect(await keysOf(store, "blobs/")).toHaveLength(1);
  });

  it.each([
    ["a symbolic link", "symlink", "../1/layer.tar"],
    ["a symbolic link with needless steps", "symlink", ".././x/../1//layer.tar"],
    ["a hard link", "link", "1/layer.tar"],
    ["a hard link with ./", "link", "./1/layer.tar"],
  ] as const)("follows %s, before and after its target", async (_, type, linkname) => {
    for (const bytes of [small, large]) {
      const archive = archiveOf(
        configOf({ layers: [bytes, bytes] }),
        { name: "1/layer.tar", bytes },
        { name: "2/layer.tar", type, linkname },
      );
      for (const order of [archive, archive.toReversed()]) {
        store = new MemoryStore({ partBytes });
        const { images, blobs } = await load(order);
        const expected = manifestOf(configOf({ layers: [bytes, bytes] }), [bytes, bytes], types.layer);
        expect(images[0]?.digest).toBe(sha256(expected));
        expect(blobs).toHaveLength(3);
      }
    }
  });

  it("follows links to links, though not round in circles and not for ever", async () => {
    const chain = (length: number): DockerEntry[] =>
      Array.from({ length }, (_, i) => ({ name: `${i + 2}.tar`, type: "symlink" as const, linkname: `${i + 1}.tar` }));
    const archive = (length: number): DockerEntry[] => [
      { name: "1.tar", bytes: small },
      ...chain(length).toReversed(),
      { name: "config.json", bytes: configOf({ layers: [small] }) },
      { name: "manifest.json", bytes: toJson([{ Config: "config.json", Layers: [`${length + 1}.tar`] }]) },
    ];
    expect((await load(archive(40))).images).toHaveLength(1);
    store = new MemoryStore({ partBytes });
    await expectRefused(archive(41), {
      code: "ARCHIVE_INVALID",
      message: expect.stringContaining("more than 40 links"),
    });
    const circle = withEntry(archive(1), { name: "1.tar", type: "symlink", linkname: "2.tar" });
    await expectRefused(circle, { code: "ARCHIVE_INVALID" });
  });

  it.each([
    ["a symbolic link", { type: "symlink", linkname: "../../layer.tar" }],
    ["an absolute symbolic link", { type: "symlink", linkname: "/1/layer.tar" }],
    ["a hard link", { type: "link", linkname: "../1/layer.tar" }],
  ] as const)("refuses %s that leads out of the archive, if an image needs it", async (_, link) => {
    const config = configOf({ layers: [small] });
    await expectRefused(archiveOf(config, { name: "1/layer.tar", ...link }), {
      code: "ARCHIVE_INVALID",
      message: 'Cannot find "1/layer.tar" in the archive: it leads out of the archive',
    });
    const needless = [...archiveOf(config, { name: "1/layer.tar", bytes: small }), { name: "2/layer.tar", ...link }];
    expect((await load(needless)).images).toHaveLength(1);
  });

  it("refuses a path in manifest.json that leads out of the archive", async () => {
    const manifest = { name: "manifest.json", bytes: toJson([{ Config: "../config.json", Layers: [] }]) };
    await expectRefused([manifest], { code: "ARCHIVE_INVALID" });
  });

  it("refuses layers that are not those of the config", async () => {
    const other = configOf({ layers: [large] });
    await expectRefused(archiveOf(other, { name: "1/layer.tar", bytes: small }), {
      code: "DIGEST_INVALID",
      detail: { path: "1/layer.tar", found: sha256(small), expected: sha256(large) },
    });
    const fewer = configOf({ layers: [] });
    await expectRefused(archiveOf(fewer, { name: "1/layer.tar", bytes: small }), {
      code: "MANIFEST_INVALID",
      detail: { found: 1, expected: 0 },
    });
  });

  it.each([
    ["no JSON", Buffer.from("{")],
    ["no object", toJson([])],
    ["no rootfs", toJson({ os: "linux" })],
    ["diff_ids that are no list", toJson({ rootfs: { diff_ids: "none" } })],
    ["a diff_id that is no string", toJson({ rootfs: { diff_ids: [1] } })],
  ])("refuses a config with %s", async (_, config) => {
    await expectRefused(archiveOf(config, { name: "1/layer.tar", bytes: small }), { code: "MANIFEST_INVALID" });
  });

  it.each(dockerForms)("refuses an image of which a layer or the config is missing (%s)", async (form) => {
    const archive = makeDockerArchive(form, { layers: [small] });
    const isPart = ({ name, type }: DockerEntry): boolean =>
      type === undefined && !/^(?:manifest\.json|repositories|.*\/(?:json|VERSION))$/.test(name);
    expect(archive.filter(isPart)).toHaveLength(2);
    for (const part of archive.filter(isPart)) {
      store = new MemoryStore({ partBytes });
      await expectRefused(
        archive.filter((entry) => entry !== part),
        { code: "MANIFEST_BLOB_UNKNOWN", message: expect.stringContaining(part.name) },
      );
    }
  });

  it("takes a name at its word: a file that has another digest is no part of any image", async () => {
    for (const [bytes, layer] of [
      [small, randomBytes(100, 3)],
      [large, randomBytes(5000, 4)],
    ] as const) {
      store = new MemoryStore({ partBytes });
      const archive = makeDockerArchive("podman", { layers: [layer] });
      const lying = withEntry(archive, { name: `${sha256(layer).slice(7)}.tar`, bytes });
      await expectRefused(lying, { code: "DIGEST_INVALID", detail: { digest: sha256(layer), found: sha256(bytes) } });
      expect(await store.head(blobKey(sha256(layer)))).toBeUndefined();
      const needless = { name: `${"a".repeat(64)}.tar`, bytes };
      expect((await load([needless, ...archive])).ignored).toEqual([
        { path: needless.name, reason: "named by no image in manifest.json" },
      ]);
    }
  });

  it("remembers four million characters of paths, and says so where an image needs what came after", async () => {
    const long = Array.from({ length: 1100 }, (_, i) => ({
      name: `${i}${"/long-name".repeat(400)}`,
      type: "symlink" as const,
      linkname: "x",
    }));
    const archive = makeDockerArchive("docker", image);
    await expectRefused([...long, ...archive], { code: "LIMIT_EXCEEDED" }, { chunkBytes: 65_536 });
    expect((await load([...archive, ...long], { chunkBytes: 65_536 })).images).toHaveLength(1);
    const layout = filesOf(makeLayout({ layers: [small], name: "app:1" }));
    expect((await load([...long, ...layout], { chunkBytes: 65_536 })).images).toHaveLength(1);
  });

  it("takes a file that comes twice if it is the same", async () => {
    const layer = { name: "1/layer.tar", bytes: small };
    const archive = archiveOf(configOf({ layers: [small] }), layer);
    expect((await load([layer, ...archive, ...archive])).images).toHaveLength(1);
    store = new MemoryStore({ partBytes });
    await expectRefused([{ ...layer, bytes: large }, ...archive], { code: "ARCHIVE_INVALID" });
    await expectRefused([{ name: layer.name, type: "symlink", linkname: "x" }, ...archive], {
      code: "ARCHIVE_INVALID",
    });
    await expectRefused([{ name: "manifest.json", bytes: toJson([]) }, ...archive], { code: "INDEX_INVALID" });
  });

  it("lists what no image needs, but not what old tools read", async () => {
    const extra: DockerEntry[] = [
      { name: "docs/notes.txt", bytes: small },
      { name: "pipe", type: "fifo" },
      { name: "other.json", bytes: small },
    ];
    const { ignored } = await load([...extra, ...makeDockerArchive("podman", image)]);
    expect(ignored).toEqual([
      { path: "docs/notes.txt", reason: "not part of a docker-archive" },
      { path: "pipe", reason: "a fifo, not a file" },
      { path: "other.json", reason: "named by no image in manifest.json" },
    ]);
  });
});

describe("loadArchive, of a manifest.json", () => {
  const archive = makeDockerArchive("docker", image);

  it.each([
    ["no JSON", "[{", "Cannot read manifest.json"],
    ["no list", "{}", "found an object, expected a list of images"],
    ["no images", "[]", "it names no image"],
    ["something else than images", "[1]", "found 1 as image 0, expected an object"],
    ["a byte order mark", "\uFEFF[]", "Cannot read manifest.json"],
    ["lists in lists", `${"[".repeat(101)}${"]".repeat(101)}`, "nested 101 deep, expected at most 100"],
    ["a key in another case", '[{"Config":"c","config":"d","Layers":[]}]', 'the key "config", expected "Config"'],
    ["a key that Go reads as another", '[{"Config":"c","Layers":[],"RepoTag\u017f":[]}]', 'expected "RepoTags"'],
    ["no config", '[{"Layers":[]}]', "found nothing as Config of image 0, expected a path"],
    ["an empty config", '[{"Config":"","Layers":[]}]', 'found "" as Config of image 0, expected a path'],
    ["layers that are no list", '[{"Config":"c","Layers":{}}]', "found an object as Layers of image 0"],
    ["a layer that is no path", '[{"Config":"c","Layers":[1]}]', "found a list as Layers of image 0"],
    [
      "tags that are no list",
      '[{"Config":"c","Layers":[],"RepoTags":"app:1"}]',
      'found "app:1" as RepoTags of image 0',
    ],
  ])("refuses one with %s", async (_, text, message) => {
    const entries = withEntry(archive, { name: "manifest.json", bytes: Buffer.from(text) });
    await expectRefused(entries, { code: "INDEX_INVALID", message: expect.stringContaining(message) });
  });

  it("refuses more layers than ten thousand, however short their names", async () => {
    const many = (text: string): string[] => Array.from({ length: 10_001 }, () => text);
    const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
    const entries = [
      { name: "l.tgz", bytes: gzipSync("layer") },
      { name: "c.json", bytes: json({ rootfs: { diff_ids: many("") } }) },
      { name: "manifest.json", bytes: json([{ Config: "c.json", Layers: many("l.tgz") }]) },
    ];
    await expectRefused(entries, { code: "LIMIT_EXCEEDED", detail: { found: 10_001, expected: 10_000 } });
  });

  it("takes the last of a key that comes twice, as Go's readers do, and passes over others", async () => {
    const json = archive.find(({ name }) => name === "manifest.json")?.bytes ?? Buffer.from("");
    const twice = json.toString().replace("[{", '[{"Config":"nowhere","Layers":["nowhere"],"Parent":"","layer":1,');
    const entries = withEntry(archive, { name: "manifest.json", bytes: Buffer.from(twice) });
    expect((await load(entries)).images).toMatchObject([{ digest: sha256(expectedManifest("docker", image)) }]);
  });

  it("refuses one that is too large, and a config", async () => {
    await expectRefused(archive, { code: "LIMIT_EXCEEDED" }, { limits: { ...defaultLimits, maxManifestBytes: 100 } });
    const configBytes = configOf(image).length;
    const limits = { ...defaultLimits, maxManifestBytes: configBytes - 1 };
    const names = makeDockerArchive("jib", image).at(-1)?.bytes?.length ?? 0;
    expect(names).toBeLessThan(configBytes);
    const tooLarge = { limit: "maxManifestBytes", found: configBytes, expected: configBytes - 1 };
    await expectRefused(makeDockerArchive("jib", image), { code: "LIMIT_EXCEEDED", detail: tooLarge }, { limits });
  });

  it("refuses, by name, what Docker before 1.10 wrote", async () => {
    const old = archive.filter(({ name }) => name !== "manifest.json");
    await expectRefused(old, { code: "UNSUPPORTED", message: expect.stringContaining("Docker before 1.10") });
  });

  it("counts for nothing beside an index.json, nor does anything else that looks like a docker-archive", async () => {
    const layout = makeLayout({ layers: [small, large], name: "app:1" });
    const beside: DockerEntry[] = [
      { name: `${"a".repeat(64)}.tar`, bytes: small },
      { name: `${"b".repeat(64)}.tar.gz`, bytes: large },
      { name: "1/layer.tar", bytes: randomBytes(3000, 8) },
      { name: "2/layer.tar", type: "symlink", linkname: "../../../etc/passwd" },
      { name: "manifest.json", bytes: Buffer.from("no JSON") },
      { name: "manifest.json", bytes: Buffer.from("other bytes") },
      { name: "repositories", bytes: Buffer.from("") },
    ];
    for (const entries of [
      [...beside, ...filesOf(layout)],
      [...filesOf(layout), ...beside],
    ]) {
      store = new MemoryStore({ partBytes });
      const receipt = await load(entries);
      expect(receipt.images).toMatchObject([{ digest: layout.digest, repository: "app", reference: "1" }]);
      expect(receipt.ignored.map(({ path }) => path)).toEqual(beside.map(({ name }) => name));
      expect(await keysOf(store, "staging/")).toEqual([]);
    }
    expect(await keysOf(store, "blobs/"), "after an index nothing more is taken").toHaveLength(layout.blobs.size);
  });
});
