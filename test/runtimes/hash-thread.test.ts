import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Hasher } from "../../src/digest.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { Layout } from "../../src/layout/layout.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { threadHasher } from "../../src/runtimes/hash-thread.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { VerifiedBytes, collectBlob } from "../../src/streams/verify-bytes.ts";
import { chunksOf, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf, withBadBlob } from "../support/layout.ts";
import { bytesAt } from "../support/loading.ts";

const mebibyte = 1024 * 1024;
/** More than the two threads have in common. */
const bytes = randomBytes(9 * mebibyte + 7);
const blob = { digest: sha256(bytes), size: bytes.length };

function openHasher(): Hasher {
  const hasher = threadHasher(4);
  if (hasher === undefined) throw new Error("found no thread");
  return hasher;
}

describe("threadHasher", () => {
  const hasher = openHasher();

  it.each([10_000, 65_536, 5 * mebibyte])("hashes a blob that comes in chunks of %i", async (size) => {
    const read = await readAll(new VerifiedBytes(chunksOf(bytes, size), blob, hasher));
    expect(bytes.equals(read)).toBe(true);
  });

  it("hashes many blobs at once, each by its algorithm", async () => {
    const blobs = Array.from({ length: 40 }, (_, i) => bytes.subarray(i, i + mebibyte + i));
    const digests = blobs.map(async (content, i) => {
      const algorithm = i % 2 === 0 ? "sha256" : "sha512";
      const hash = hasher(algorithm);
      for (let at = 0; at < content.length; at += 50_000) await hash.update(content.subarray(at, at + 50_000));
      return [await hash.digest(), `${algorithm}:${createHash(algorithm).update(content).digest("hex")}`];
    });
    for (const [found, expected] of await Promise.all(digests)) expect(found).toBe(expected);
  });

  it("refuses wrong bytes before the last chunk is passed on", async () => {
    const wrong = { ...blob, digest: sha256(bytes.subarray(1)) };
    let passed = 0;
    const read = async (): Promise<void> => {
      for await (const chunk of new VerifiedBytes(chunksOf(bytes, mebibyte), wrong, hasher)) passed += chunk.length;
    };
    await expect(read()).rejects.toMatchObject({ code: "DIGEST_INVALID" });
    expect(passed).toBeLessThan(bytes.length);
  });

  it("lets a chunk be changed as soon as its bytes are taken", async () => {
    const hash = hasher("sha256");
    const chunk = new Uint8Array(100_000);
    for (let at = 0; at < bytes.length; at += chunk.length) {
      const piece = bytes.subarray(at, at + chunk.length);
      chunk.set(piece);
      await hash.update(chunk.subarray(0, piece.length));
      chunk.fill(0);
    }
    expect(await hash.digest()).toBe(blob.digest);
  });

  it("goes on after hashes that were given up", async () => {
    for (let i = 0; i < 20; i++) {
      const given = new VerifiedBytes(chunksOf(bytes, mebibyte), blob, hasher);
      await given.next();
      await given.return();
    }
    const { bytes: collected, verified } = await collectBlob(chunksOf(bytes, 65_536), blob, hasher);
    await verified;
    expect(bytes.equals(collected)).toBe(true);
  });

  it("leaves a machine of two cores to the clients and the store", () => {
    expect(threadHasher(2)).toBeUndefined();
  });
});

describe("a load that hashes in another thread", () => {
  const hasher = openHasher();
  /** One is held in memory, one is streamed. */
  const layers = [randomBytes(mebibyte, 3), randomBytes(9 * mebibyte, 4)];
  const image = makeLayout({ layers });

  it("stores the blobs, and finds them present when it comes again", async () => {
    const store = new MemoryStore();
    const layout = Layout.open(store, { hasher });
    const tar = await tarOf(image);
    const first = await loadArchive(layout, chunksOf(tar, 65_536));
    for (const layer of layers) expect(layer.equals(await bytesAt(store, blobKey(sha256(layer))))).toBe(true);
    const second = await loadArchive(layout, chunksOf(tar, 65_536));
    expect([first.totals, second.totals]).toMatchObject([
      { written: 4, present: 0 },
      { written: 0, present: 4 },
    ]);
  });

  it.each([
    ["held in memory", 0],
    ["streamed", 1],
  ])("refuses a wrong blob that is %s, and stores none", async (_, at) => {
    const digest = image.layers[at];
    const store = new MemoryStore();
    const wrong = await tarOf(withBadBlob(image, digest));
    const load = loadArchive(Layout.open(store, { hasher }), chunksOf(wrong, 65_536));
    await expect(load).rejects.toMatchObject({ code: "DIGEST_INVALID" });
    expect(digest && (await store.head(blobKey(digest)))).toBeUndefined();
  });
});
