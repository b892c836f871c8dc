/** Loads of very many blobs: two thirds of the entries that an archive may have. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { BlobTable } from "../../src/load/blob-table.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { makeDockerArchive, packEntries } from "../support/docker-archive.ts";
import { filesOf, makeLayout } from "../support/layout.ts";
import { decorate, loadBytes } from "../support/loading.ts";
import { rawTar } from "../support/raw-tar.ts";
import { ustarHeader } from "../support/ustar-header.ts";

const blobCount = 65_000;
const blobBytes = 8;

let collectGarbage: () => void;
beforeAll(() => {
  setFlagsFromString("--expose-gc");
  collectGarbage = runInNewContext("gc") as () => void;
});

function usedBytes(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const bytesOf = (i: number): Buffer => Buffer.from(String(i).padStart(blobBytes, "0"));

function entryOf(name: string, i: number): Buffer {
  return Buffer.concat([ustarHeader(name, blobBytes), bytesOf(i), Buffer.alloc(512 - blobBytes)]);
}

/** Loads an archive with very many blobs in front. Returns also the memory that the load keeps of each. */
async function loadMany(
  nameOf: (i: number) => string,
  archive: Buffer,
): Promise<Receipt & { readonly keptBytesOfEach: number }> {
  let keptBytes = 0;
  async function* source(): AsyncGenerator<Uint8Array> {
    let before = 0;
    for (let i = 0; i < blobCount; i++) {
      if (i === 1000) before = usedBytes();
      yield entryOf(nameOf(i), i);
    }
    keptBytes = usedBytes() - before;
    yield archive;
  }
  const store = new MemoryStore();
  await loadBytes(once(archive), store);
  // The store seems to have the other blobs too. So it needs no memory for them.
  const full = decorate(store, {
    head: async (key) =>
      (await store.head(key)) ?? (key.startsWith("blobs/") ? { key, size: blobBytes, etag: "e" } : undefined),
  });
  return { ...(await loadBytes(source(), full)), keptBytesOfEach: keptBytes / blobCount };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

describe("BlobTable", () => {
  it("compares few digests, also if all begin alike", () => {
    const digests = Array.from({ length: 2000 }, (_, i): Digest => `sha256:0000${sha256(bytesOf(i)).slice(11)}`);
    const compared = vi.spyOn(Buffer.prototype, "equals");
    const table = new BlobTable();
    for (const digest of digests) table.add(digest, 1)("written");
    expect(compared.mock.calls.length).toBeLessThan(20 * digests.length); // each with all before it: 2 million
    compared.mockRestore();
    expect(digests.every((digest) => table.has(digest))).toBe(true);
  });
});

describe("loadArchive, of very many blobs", () => {
  it("keeps little of each in memory, and lists all", { timeout: 60_000 }, async () => {
    const image = makeLayout({ name: "team/app:1" });
    const digestOf = (i: number): string => sha256(bytesOf(i));
    const { keptBytesOfEach, images, blobs, totals } = await loadMany(
      (i) => `blobs/${digestOf(i).replace(":", "/")}`,
      rawTar(filesOf(image)),
    );
    expect(keptBytesOfEach).toBeLessThan(110); // strings and objects took 165
    expect(images).toMatchObject([{ status: "unchanged" }]);
    expect(totals).toMatchObject({ present: blobCount + image.blobs.size, written: 0 });
    expect(blobs.findIndex(({ digest }, i) => digest !== digestOf(i))).toBe(blobCount);
    expect(blobs.slice(blobCount).map(({ digest }) => digest)).toEqual([...image.blobs.keys()]);
    expect(new Set(blobs.slice(0, blobCount).map(({ size, status }) => `${size} ${status}`))).toEqual(
      new Set(["8 present"]),
    );
  });

  it("keeps little of each file of a docker-archive", { timeout: 60_000 }, async () => {
    const archive = await packEntries(makeDockerArchive("docker", { layers: [bytesOf(0)], repoTags: ["app:1"] }));
    const { keptBytesOfEach, images } = await loadMany((i) => `${i}.tar`, archive);
    expect(keptBytesOfEach).toBeLessThan(350); // with an array for the first bytes of each it took 470
    expect(images).toMatchObject([{ status: "unchanged" }]);
  });
});
