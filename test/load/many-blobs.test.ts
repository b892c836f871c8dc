/** A load of very many blobs, with two thirds of the entries that an archive may have. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { filesOf, makeLayout } from "../support/layout.ts";
import { decorate, loadBytes } from "../support/loading.ts";
import { rawTar } from "../support/raw-tar.ts";
import { ustarHeader } from "../support/ustar-header.ts";

const blobCount = 65_000;
const blobBytes = 8;
/** Strings and objects took 180 bytes. */
const maxBytesOfEach = 110;

const digestOf = (i: number): string => sha256(bytesOf(i));
const bytesOf = (i: number): Buffer => Buffer.from(String(i).padStart(blobBytes, "0"));

function entryOf(i: number): Buffer {
  const bytes = bytesOf(i);
  const header = ustarHeader(`blobs/${digestOf(i).replace(":", "/")}`, bytes.length);
  return Buffer.concat([header, bytes, Buffer.alloc(512 - bytes.length)]);
}

describe("loadArchive, of very many blobs", () => {
  it("keeps little of each in memory, and lists all", { timeout: 60_000 }, async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const memory = (): number => {
      collect();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    let keptBytes = 0;
    const image = makeLayout({ name: "team/app:1" });
    const store = new MemoryStore();
    await loadBytes(source(0), store);
    // All other blobs are in the store already, so that the store itself needs no memory for them.
    const full = decorate(store, {
      head: async (key) =>
        (await store.head(key)) ?? (key.startsWith("blobs/") ? { key, size: blobBytes, etag: "e" } : undefined),
    });
    async function* source(count: number): AsyncGenerator<Uint8Array> {
      let before = 0;
      for (let i = 0; i < count; i++) {
        if (i === 1000) before = memory();
        yield entryOf(i);
      }
      keptBytes = memory() - before;
      yield rawTar(filesOf(image));
    }
    const { images, blobs, totals } = await loadBytes(source(blobCount), full);
    expect(keptBytes).toBeLessThan(maxBytesOfEach * blobCount);
    expect(images).toMatchObject([{ status: "unchanged" }]);
    expect(totals).toMatchObject({ present: blobCount + image.blobs.size, written: 0 });
    expect(blobs.findIndex(({ digest }, i) => digest !== digestOf(i))).toBe(blobCount);
    expect(blobs.slice(blobCount).map(({ digest }) => digest)).toEqual([...image.blobs.keys()]);
    expect(new Set(blobs.slice(0, blobCount).map(({ size, status }) => `${size} ${status}`))).toEqual(
      new Set(["8 present"]),
    );
  });
});
