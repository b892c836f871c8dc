/** Archives that are small, and would make much of what a load answers, or keeps, or works out again. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, sha256 } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types, withBlob } from "../support/layout.ts";

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
  return loadArchive(chunksOf(gzipSync(await tarOf(layout)), 4000), { store });
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
      message: expect.stringContaining("more than 20000 manifests that are nowhere"),
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
});
