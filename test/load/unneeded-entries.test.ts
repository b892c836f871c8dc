/** What a layout holds that no image needs: it is listed, and nothing more. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, filesOf, joinLayouts, makeLayout, types, withBlob, withoutBlob } from "../support/layout.ts";
import { bytesAt, keysOf } from "../support/loading.ts";
import { type RawEntry, paxEntry, rawTar } from "../support/raw-tar.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ layers: [randomBytes(100)], name: "app:1" });
const hex = "ab".repeat(32);
const pathOf = (digest: Digest): string => `blobs/${digest.replace(":", "/")}`;

/** Names of more than 100 characters are in an extended header. */
function packed(entries: readonly RawEntry[]): Buffer {
  const inHeader = (entry: RawEntry): RawEntry[] =>
    (entry.name ?? "").length > 100 ? [paxEntry({ path: entry.name ?? "" }), { ...entry, name: "cut" }] : [entry];
  return rawTar(entries.flatMap(inHeader));
}

async function load(entries: readonly RawEntry[], store = new MemoryStore(), name?: string): Promise<Receipt> {
  return loadArchive(openLayout(store), chunksOf(packed(entries), 333), { name });
}

describe("loadArchive, of a layout with what no image needs", () => {
  const x = Buffer.from("x");
  it.each<[string, RawEntry]>([
    ["an archive among the blobs", { name: "blobs/rootfs.tar.gz", bytes: x }],
    ["a config among the blobs", { name: "blobs/image-config.json", bytes: x }],
    ["a text among the blobs", { name: "blobs/sha256/README.md", bytes: x }],
    ["upper-case hex", { name: `blobs/sha256/${hex.toUpperCase()}`, bytes: x }],
    ["a name with an ending", { name: `blobs/sha256/${hex}.gz`, bytes: x }],
    ["a name without an algorithm", { name: `blobs/${hex}`, bytes: x }],
    ["a folder too many", { name: `blobs/sha256/ab/${hex}`, bytes: x }],
    ["an upper-case algorithm", { name: `blobs/SHA256/${hex}`, bytes: x }],
    ["another algorithm", { name: `blobs/blake3/${hex}`, bytes: x }],
    ["a sha384 blob", { name: `blobs/sha384/${createHash("sha384").update(x).digest("hex")}`, bytes: x }],
    ["a sha256 among those of sha512", { name: `blobs/sha512/${hex}`, bytes: x }],
    ["a file that is called blobs", { name: "blobs", bytes: x }],
    ["a link among the blobs", { name: `blobs/sha256/${hex}`, type: "2", linkTarget: "../rootfs.tar.gz" }],
    ["a link from blob to blob", { name: `blobs/sha256/${hex}`, type: "1", linkTarget: pathOf(layout.digest) }],
    ["a link into the blobs", { name: "x/y", type: "2", linkTarget: `../${pathOf(layout.digest)}` }],
    ["a hard link into the blobs", { name: "x/y", type: "1", linkTarget: `./${pathOf(layout.digest)}` }],
    ["a folder of blobs that is a link", { name: "blobs/sha256", type: "2", linkTarget: "/tmp" }],
    ["a folder of sha512 blobs that is a link", { name: "blobs/sha512", type: "2", linkTarget: "sha256" }],
    ["a device in the place of a blob", { name: `blobs/sha256/${hex}`, type: "3" }],
    ["a link under the name of a blob that is there", { name: pathOf(layout.digest), type: "2", linkTarget: "x" }],
  ])("lists %s", async (_, entry) => {
    const whole = filesOf(layout);
    for (const entries of [
      [entry, ...whole],
      [...whole, entry],
    ]) {
      const { images, ignored } = await load(entries);
      expect(images).toMatchObject([{ repository: "app", reference: "1", digest: layout.digest }]);
      expect(ignored.map(({ path }) => path)).toEqual([entry.name]);
    }
    const store = new MemoryStore();
    await load([...whole, entry], store);
    expect(await keysOf(store, "blobs/"), "after an index nothing more is stored").toHaveLength(layout.blobs.size);
  });

  it("refuses a link in the place of a blob that an image needs, whatever the store has", async () => {
    const [layer = "sha256:"] = layout.layers;
    const entries = [
      ...filesOf(withoutBlob(layout, layer)),
      { name: pathOf(layer), type: "2", linkTarget: "../layer.tar" },
    ];
    const full = new MemoryStore();
    await load(filesOf(layout), full);
    for (const store of [new MemoryStore(), full]) {
      await expect(load(entries, store)).rejects.toMatchObject({
        code: "ARCHIVE_INVALID",
        message: `Cannot take "${pathOf(layer)}": found a symlink, expected a file; \`tar -h --hard-dereference -c\` writes files in the place of links`,
      });
    }
  });
});

describe("loadArchive, of an index.json with a root of an unknown media type", () => {
  const xml = Buffer.from("<xml/>");
  const root = { mediaType: "application/xml", digest: sha256(xml), size: xml.length };
  const withRoot = (of: Layout, extra: object = {}): Layout => ({
    ...withBlob(of, xml),
    roots: [...of.roots, { ...root, ...extra }],
  });

  it.each([[undefined], ["team/app:1"]])("keeps it as a blob and lists it, with %s requested", async (name) => {
    const store = new MemoryStore();
    const { images, ignored } = await load(filesOf(withRoot(layout)), store, name);
    expect(images).toMatchObject([{ digest: layout.digest }]);
    const reason = 'a root of the media type "application/xml", which is no image: kept as a blob';
    expect(ignored).toEqual([{ path: pathOf(root.digest), reason }]);
    expect(await bytesAt(store, pathOf(root.digest))).toEqual(xml);
  });

  it("lists one that is not in the archive, and one with a name", async () => {
    const elsewhere = { ...layout, roots: [...layout.roots, { ...root, annotations: { x: "y" } }] };
    expect((await load(filesOf(elsewhere))).ignored).toMatchObject([{ path: pathOf(root.digest) }]);
    const named = withRoot(layout, { annotations: { "org.opencontainers.image.ref.name": "app:1" } });
    expect((await load(filesOf(named))).images).toHaveLength(1);
  });

  it("goes by the bytes of a manifest that its descriptor calls something else", async () => {
    const odd = makeLayout({ name: "odd:1", root: { mediaType: "application/json" } });
    expect((await load(filesOf(joinLayouts(layout, odd)))).images).toHaveLength(2);
  });

  it("refuses an archive that has nothing else", async () => {
    await expect(load(filesOf({ ...withRoot(layout), roots: [root] }))).rejects.toMatchObject({
      code: "INDEX_INVALID",
      message: 'Cannot load the archive: its index.json names no image, found "application/xml"',
    });
  });
});

describe("loadArchive, of blobs that are only in a descriptor's data", () => {
  const empty = {
    mediaType: "application/vnd.oci.empty.v1+json",
    digest: sha256(Buffer.from("{}")),
    size: 2,
    data: "e30=",
  };

  it("stores an empty config, and the empty layer", async () => {
    const artifact = makeLayout({ name: "sbom:1", manifest: { config: empty, layers: [empty] } });
    const bare = {
      ...artifact,
      blobs: new Map([[artifact.digest, artifact.blobs.get(artifact.digest) ?? Buffer.from("")]]),
    };
    const store = new MemoryStore();
    const { images, blobs } = await load(filesOf(bare), store);
    expect(images).toMatchObject([{ repository: "sbom", digest: artifact.digest }]);
    expect(blobs.map(({ digest, status }) => [digest, status])).toContainEqual([empty.digest, "written"]);
    expect(String(await bytesAt(store, pathOf(empty.digest)))).toBe("{}");
  });

  it("stores no more than a thousand of them", async () => {
    const layers = Array.from({ length: 1001 }, (_, i) => {
      const bytes = Buffer.from(`${i}`);
      return { mediaType: types.layer, digest: sha256(bytes), size: bytes.length, data: bytes.toString("base64") };
    });
    await expect(load(filesOf(makeLayout({ name: "app:1", manifest: { layers } })))).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("too many of its blobs are in no file") as string,
    });
  });

  it("refuses such a config without its data", async () => {
    const { data: _, ...absent } = empty;
    const artifact = makeLayout({ name: "sbom:1", manifest: { config: absent, layers: [absent] } });
    const bare = {
      ...artifact,
      blobs: new Map([[artifact.digest, artifact.blobs.get(artifact.digest) ?? Buffer.from("")]]),
    };
    await expect(load(filesOf(bare))).rejects.toMatchObject({ code: "MANIFEST_BLOB_UNKNOWN" });
  });
});

describe("loadArchive, of a ref.name that is no tag", () => {
  const build = (options: Parameters<typeof makeLayout>[0]): Layout =>
    makeLayout({ layers: [randomBytes(7)], ...options });

  it.each([
    ["a tag alone", { refName: "v1.0+build" }, undefined, "images", "v1.0+build"],
    ["a whole reference", { refName: "team/app:v1.0+build" }, undefined, "team/app", "v1.0+build"],
    ["a long tag", { refName: "v".repeat(129) }, undefined, "images", "v".repeat(129)],
    ["a tag, and a repository is requested", { refName: "v1.0+build" }, "team/x", "team/x", "v1.0+build"],
  ])("publishes the image by its digest and lists the name: %s", async (_, options, name, repository, unusableTag) => {
    const of = build(options);
    expect((await load(filesOf(of), new MemoryStore(), name)).images).toMatchObject([
      { repository, reference: of.digest, unusableTag },
    ]);
  });

  it("says nothing of it where another name counts", async () => {
    const of = build({ refName: "v1.0+build", name: "app:1" });
    for (const name of [undefined, "team/x:2"]) {
      const { images } = await load(filesOf(of), new MemoryStore(), name);
      expect(images[0]).not.toHaveProperty("unusableTag");
    }
  });
});
