/** Archives that are small, and would make much of what a load answers, or keeps, or works out again. */
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, types, withBlob } from "../support/layout.ts";

const image = makeLayout({ refName: "one" });
const [root] = image.roots;

/** An index of the image and of so many others that are nowhere. */
function sparseIndex(absent: number): Buffer {
  const others = Array.from({ length: absent }, (_, i) => ({
    mediaType: types.manifest,
    digest: sha256(Buffer.from(`absent ${i}`)),
    size: 1,
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
  it("lists the first thousand manifests that are absent, once for all names of an index", async () => {
    const names = Array.from({ length: 2000 }, (_, i) => `tag-${i}`);
    const { images } = await load(named(sparseIndex(5000), names));
    expect(images).toHaveLength(2000);
    expect(images[0]?.absent).toHaveLength(1000);
    expect(new Set(images.map(({ absent }) => absent)).size).toBe(1);
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
