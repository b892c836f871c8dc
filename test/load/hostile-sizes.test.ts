/** Archives that are small, and would make much of what a load answers, or keeps, or works out again. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { blobKey } from "../../src/layout/keys.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, sha256 } from "../support/bytes.ts";
import { archiveOf, configOf, packEntries, toJson } from "../support/docker-archive.ts";
import {
  type Layout,
  type TestDescriptor,
  filesOf,
  joinLayouts,
  makeLayout,
  tarOf,
  types,
  withBlob,
} from "../support/layout.ts";
import { loadBytes } from "../support/loading.ts";
import { rawTar } from "../support/raw-tar.ts";
import { openLayout } from "../support/open-layout.ts";

const image = makeLayout({ refName: "one" });
const [root] = image.roots;

/** An index of the image and of so many others that are nowhere. */
function sparseIndex(absent: number, more: object = {}): Buffer {
  const others = Array.from({ length: absent }, (_, i) => ({
    mediaType: types.manifest,
    digest: sha256(Buffer.from(`absent ${i}`)),
    size: 1,
    ...more,
  }));
  const own = { mediaType: types.manifest, digest: image.digest, size: root?.size };
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests: [own, ...others] }));
}

function named(index: Buffer, names: readonly string[]): Layout {
  const descriptor = { mediaType: types.index, digest: sha256(index), size: index.length };
  const annotation = "org.opencontainers.image.ref.name";
  return {
    ...withBlob(image, index),
    roots: names.map((name) => ({ ...descriptor, annotations: { [annotation]: name } })),
  };
}

async function load(layout: Layout, store = new MemoryStore()): ReturnType<typeof loadArchive> {
  return loadArchive(openLayout(store), chunksOf(gzipSync(await tarOf(layout)), 4000));
}

describe("loadArchive, of what is small and says much", () => {
  it("lists the first thousand manifests that are absent, and for many names no more than ten thousand together", async () => {
    const names = Array.from({ length: 2000 }, (_, i) => `tag-${i}`);
    const { images } = await load(named(sparseIndex(5000), names));
    const lengths = images.map(({ absent }) => absent?.length);
    expect(images).toHaveLength(2000);
    expect(lengths.slice(0, 10)).toEqual(Array.from({ length: 10 }, () => 1000));
    expect(lengths.slice(10)).toEqual(Array.from({ length: 1990 }, () => 1)); // still known to be sparse
  });

  it("finds what is absent below thousands of sparse indexes once, though the image has thousands of names", async () => {
    const inner = Array.from({ length: 2000 }, (_, i) => sparseIndex(1, { annotations: { number: `${i}` } }));
    const manifests = inner.map((bytes) => ({ mediaType: types.index, digest: sha256(bytes), size: bytes.length }));
    const outer = toJson({ schemaVersion: 2, mediaType: types.index, manifests });
    const names = Array.from({ length: 5000 }, (_, i) => `tag-${i}`);
    const layout = named(outer, names);
    const blobs = new Map([...layout.blobs, ...inner.map((bytes) => [sha256(bytes), bytes] as const)]);
    const { images } = await load({ ...layout, blobs });
    expect(images).toHaveLength(5000);
    expect(new Set(images.map(({ absent }) => absent?.length))).toEqual(new Set([1]));
  });

  it("does not repeat what somebody has written at length for a platform", async () => {
    const platform = { os: "a".repeat(100_000), architecture: "amd64" };
    const { images } = await load(named(sparseIndex(1, { platform }), ["one", "two"]));
    expect(images[0]?.absent).toEqual([
      { mediaType: types.manifest, digest: sha256(Buffer.from("absent 0")), size: 1 },
    ]);
  });

  it("refuses indexes that name more than twenty thousand manifests that are nowhere", async () => {
    const store = new MemoryStore();
    const layout = joinLayouts(named(sparseIndex(15_000), ["one"]), named(sparseIndex(5001), ["two"]));
    await expect(load(layout, store)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("too many missing manifests, at most 20000 are allowed"),
    });
    expect(await store.head("index.json")).toBeUndefined();
  });

  it("refuses more than ten thousand names, and more than a thousand repositories", async () => {
    const many = (count: number, name: (i: number) => string): Layout =>
      named(
        sparseIndex(1),
        Array.from({ length: count }, (_, i) => name(i)),
      );
    const store = new MemoryStore();
    await expect(
      load(
        many(10_001, (i) => `tag-${i}`),
        store,
      ),
    ).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    await expect(
      load(
        many(1001, (i) => `app-${i}:1`),
        store,
      ),
    ).rejects.toThrow("in 1001 repositories at once");
    expect(await store.head("index.json")).toBeUndefined();
  });

  it("refuses more than ten thousand links in the place of blobs", async () => {
    const links = Array.from({ length: 10_001 }, (_, i) => ({
      name: `blobs/${sha256(Buffer.from(`link ${i}`)).replace(":", "/")}`,
      type: "2",
      linkTarget: "elsewhere",
    }));
    const loadLinks = (count: number): Promise<Receipt> =>
      loadBytes(chunksOf(rawTar([...filesOf(image), ...links.slice(0, count)]), 4000), new MemoryStore());
    expect((await loadLinks(10_000)).images).toHaveLength(1);
    await expect(loadLinks(10_001)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("too many of its blobs are no files") as string,
    });
  });
});

describe("loadArchive, of indexes that are large together", () => {
  /** So that four times as much is allowed. */
  const limits = { maxManifestBytes: 2000 };
  const own: TestDescriptor = { mediaType: types.manifest, digest: image.digest, size: root?.size ?? 0 };
  const absent = { ...own, digest: sha256(Buffer.from("absent")) };

  function indexOf(manifests: readonly TestDescriptor[], salt: string): Buffer {
    const json = { schemaVersion: 2, mediaType: types.index, manifests, annotations: { salt } };
    const bytes = toJson(json).length;
    return toJson({ ...json, annotations: { salt: salt.padEnd(1900 - bytes + salt.length, ".") } });
  }

  const describeIndex = (bytes: Buffer): TestDescriptor => ({
    mediaType: types.index,
    digest: sha256(bytes),
    size: bytes.length,
  });

  /** Indexes of 1900 bytes, each of which names the next. */
  function nested(count: number): Layout {
    let layout: Layout = image;
    let inner = own;
    for (let i = 0; i < count; i++) {
      const bytes = indexOf([inner], `${i}`);
      inner = describeIndex(bytes);
      layout = withBlob(layout, bytes);
    }
    return { ...layout, roots: [inner] };
  }

  /** As many, which name the image and what else they are given, each of them a root. */
  function beside(count: number, ...others: readonly TestDescriptor[]): Layout {
    const indexes = Array.from({ length: count }, (_, i) => indexOf([own, ...others], `${i}`));
    const layout = indexes.reduce((before, bytes) => withBlob(before, bytes), image);
    return { ...layout, roots: indexes.map(describeIndex) };
  }

  const loadLimited = async (layout: Layout): ReturnType<typeof loadArchive> =>
    loadArchive(openLayout(new MemoryStore(), limits), chunksOf(await tarOf(layout), 4000));

  const tooMany = { code: "LIMIT_EXCEEDED", detail: { limit: "maxManifestBytes", expected: 8000 } };

  it("refuses more than four times maxManifestBytes inside one another", async () => {
    expect((await loadLimited(nested(3))).images).toHaveLength(1);
    await expect(loadLimited(nested(4))).rejects.toMatchObject(tooMany);
  });

  it("refuses as much of indexes that lack manifests, and takes any number that lack none", async () => {
    expect((await loadLimited(beside(8))).images).toHaveLength(8);
    expect((await loadLimited(beside(3, absent))).images).toHaveLength(3);
    await expect(loadLimited(beside(5, absent))).rejects.toMatchObject(tooMany);
  });

  it("refuses as much of a docker-archive's configs", async () => {
    const configs = Array.from({ length: 5 }, (_, i) => configOf({ layers: [], label: `${i}`.padEnd(1700, ".") }));
    const files = configs.map((bytes, i) => ({ name: `${i}.json`, bytes }));
    const images = files.map(({ name }) => ({ Config: name, RepoTags: [], Layers: [] }));
    const archive = (count: number): ReturnType<typeof packEntries> =>
      packEntries([...files, { name: "manifest.json", bytes: toJson(images.slice(0, count)) }]);
    const store = new MemoryStore();
    const loaded = await loadBytes(chunksOf(await archive(4), 4000), store, { limits });
    expect(loaded.images).toHaveLength(4);
    await expect(loadBytes(chunksOf(await archive(5), 4000), store, { limits })).rejects.toMatchObject(tooMany);
  });

  it("refuses an index that is larger than it says before it looks for what that names", async () => {
    const bytes = indexOf([absent], "large");
    const store = new MemoryStore();
    await store.put(blobKey(sha256(bytes)), bytes);
    const liar = { ...image, roots: [{ ...describeIndex(bytes), size: 10 }] };
    await expect(load(liar, store)).rejects.toMatchObject({ code: "SIZE_INVALID" });
  });
});

describe("loadArchive, of a large index while others take all memory for such texts", () => {
  const large = named(sparseIndex(3000), ["large"]);
  const docker = archiveOf(configOf({ layers: [], label: ".".repeat(300_000) }));

  it("waits for its turn, though small ones need not, and a load that is ended stops waiting", async () => {
    const layout = openLayout(new MemoryStore());
    const others = layout.budget.parseMemory({ caller: "others", signal: AbortSignal.any([]) });
    await others.hold(layout.budget.maxBytes);
    let isDone = false;
    const second = loadArchive(layout, chunksOf(await tarOf(large), 4000)).finally(() => (isDone = true));
    const ended = new AbortController();
    const third = loadArchive(layout, chunksOf(await packEntries(docker), 65_536), { signal: ended.signal });
    await loadArchive(layout, chunksOf(await tarOf(image), 4000));
    await new Promise((resolve) => setTimeout(resolve, 100));
    ended.abort(new Error("went away"));
    await expect(third).rejects.toThrow("went away");
    expect(isDone).toBe(false);
    others.release();
    expect((await second).images).toHaveLength(1);
  });

  it("gets its turn once another has failed", async () => {
    const broken = named(Buffer.concat([sparseIndex(3000), Buffer.from("}")]), ["broken"]);
    await expect(load(broken)).rejects.toMatchObject({ code: "MANIFEST_INVALID" });
    expect((await load(large)).images).toHaveLength(1);
  });
});
