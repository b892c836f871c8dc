/** Loads that share far too little memory: they wait for one another, and none waits for good. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { WatchedSource } from "../../src/streams/watched-source.ts";
import { chunksOf, randomBytes, stallAfter } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { zstdFrame } from "../support/zstd.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;
const loads = 24;

/** As slow as a store over a network, and holding as much of the budget for a streamed blob as there is. */
class TightStore extends MemoryStore {
  readonly #streamBytes: number;

  constructor(streamBytes: number) {
    super({ partBytes: 1000 });
    this.#streamBytes = streamBytes;
  }

  override writeBufferBytes(): number {
    return this.#streamBytes;
  }

  override async put(...args: Parameters<MemoryStore["put"]>): ReturnType<MemoryStore["put"]> {
    await sleep(2);
    return super.put(...args);
  }

  override async write(...args: Parameters<MemoryStore["write"]>): ReturnType<MemoryStore["write"]> {
    await sleep(2);
    return super.write(...args);
  }
}

/** Small layers before and after each large one, so that a load holds some while it waits for more. */
async function archiveOf(i: number): Promise<Buffer> {
  const layers = Array.from({ length: 9 }, (_, n) => randomBytes(n % 3 === 1 ? 5000 : 900, 10 * i + n));
  const bytes = await tarOf(makeLayout({ layers, name: `shared/app-${i}:1` }));
  return i % 2 === 0 ? Buffer.concat([zstdFrame(bytes.subarray(0, 4000)), zstdFrame(bytes.subarray(4000))]) : bytes;
}

async function* slowly(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunksOf(bytes, 3000)) {
    await sleep(Math.random() * 3);
    yield chunk;
  }
}

describe("loadArchive, of many loads with one budget", () => {
  it.each([
    ["a few small blobs take, windows beside it", 4000, 4000],
    ["one streamed blob and one window take", 40 * mebibyte, 32 * mebibyte],
  ])("brings all to an end with no more than %s", async (_, budgetBytes, streamBytes) => {
    const store = new TightStore(streamBytes);
    const layout = openLayout(store, { maxBufferBytes: budgetBytes });
    const { budget } = layout;
    const outcomes = await Promise.allSettled(
      Array.from({ length: loads }, async (_unused, i) => {
        const bytes = await archiveOf(i);
        const isStalled = i % 4 >= 2; // of both kinds
        const source = isStalled
          ? stallAfter(bytes.subarray(0, bytes.length * (0.1 + Math.random() / 2)))
          : slowly(bytes);
        return loadArchive(layout, new WatchedSource(source, { maxIdleSeconds: 0.3 }));
      }),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(
      outcomes.map((_unused, i) => (i % 4 >= 2 ? "rejected" : "fulfilled")),
    );
    // All of it is free again.
    const never = new AbortController().signal;
    const release = await budget.takeLasting(8 * mebibyte, { signal: never });
    await budget.take(streamBytes, { signal: never });
    release();
  });
});
