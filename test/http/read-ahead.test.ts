/** Large blobs out of a store that is slower than the client on each connection: several parts come at once. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { GetOptions, StoredObject } from "../../src/storage/object-store.ts";
import { chunksOf, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;
const layer = randomBytes(24 * mebibyte + 1);
const digest = sha256(layer);
const blobPath = `/v2/team/app/blobs/${digest}`;

/** Sends 21 MB a second on each connection, and knows how many bodies are open. */
class SlowStore extends ForwardingStore {
  chunkBytes = 64 * 1024;
  open = 0;
  mostOpen = 0;
  ranges = 0;
  /** What the second range becomes. */
  onRange: ((object: StoredObject) => StoredObject) | undefined;

  override async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    const object = await super.get(key, options);
    if (object === undefined || !key.endsWith(digest.slice(7))) return object;
    if (options.range !== undefined && ++this.ranges === 2 && this.onRange !== undefined) return this.onRange(object);
    return { ...object, body: this.#slowly(await readAll(object.body)) };
  }

  #slowly(bytes: Uint8Array): AsyncIterable<Uint8Array> {
    const chunks = chunksOf(bytes, this.chunkBytes);
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    let isOpen = true;
    const end = (): void => void (isOpen && this.open--, (isOpen = false));
    const body: AsyncIterableIterator<Uint8Array> = {
      [Symbol.asyncIterator]: () => body,
      next: async () => {
        await new Promise((resolve) => setTimeout(resolve, (3 * this.chunkBytes) / (64 * 1024)));
        const next: IteratorResult<Uint8Array> = isOpen ? await chunks.next() : { done: true, value: undefined };
        if (next.done === true) end();
        return next;
      },
      return: async () => (end(), { done: true, value: undefined }),
    };
    return body;
  }
}

let memory: MemoryStore;
let store: SlowStore;
let layout: ReturnType<typeof openLayout>;
let app: Hono;
beforeEach(async () => {
  memory = new MemoryStore();
  const tar = await tarOf(makeLayout({ layers: [layer], name: "team/app:1" }));
  await loadArchive(openLayout(memory), chunksOf(tar, mebibyte));
  store = new SlowStore(memory);
  layout = openLayout(store);
  app = createApp({ layout, access: "anyone" });
});

/** Takes all memory. Resolves when nobody else holds any. */
async function takeAllMemory(): Promise<void> {
  const { budget } = layout;
  const signal = AbortSignal.timeout(30_000);
  const half = Math.floor(budget.maxBytes / 2);
  const releases = await Promise.all([half, budget.maxBytes - half].map(async (n) => budget.take(n, { signal })));
  for (const release of releases) release();
}

describe("a blob", () => {
  it("is read by several requests at once, and has all its bytes in order", async () => {
    const answer = await app.request(blobPath);
    expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(digest);
    expect(store.mostOpen).toBeGreaterThan(1);
    await expect.poll(() => store.open).toBe(0);
    await takeAllMemory();
  });

  it("is read so from the start of a range to its end", async () => {
    const answer = await app.request(blobPath, { headers: { Range: `bytes=1000-${layer.length - 1000}` } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(bytes.equals(layer.subarray(1000, layer.length - 999))).toBe(true);
    expect(store.mostOpen).toBeGreaterThan(1);
    await expect.poll(() => store.open).toBe(0);
  });

  it.each<[string, (object: StoredObject) => StoredObject]>([
    ["was replaced", (object) => ({ ...object, etag: "other" })],
    ["comes short", (object) => ({ ...object, body: chunksOf(new Uint8Array(1000), 100) })],
    ["comes with more bytes", (object) => ({ ...object, body: chunksOf(new Uint8Array(6 * mebibyte), mebibyte) })],
    ["fails", (object) => ({ ...object, body: failing() })],
  ])("breaks off if a part %s", async (_, onRange) => {
    store.onRange = onRange;
    const answer = await app.request(blobPath);
    await expect(answer.arrayBuffer()).rejects.toThrow();
    expect(store.ranges).toBeGreaterThan(1);
    await expect.poll(() => store.open).toBe(0);
    await takeAllMemory();
  });

  it("leaves nothing open and holds no memory when its client leaves", async () => {
    const answer = await app.request(blobPath);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    while (store.ranges < 2) await reader.read();
    await reader.cancel();
    await expect.poll(() => store.open).toBe(0);
    await takeAllMemory();
  });

  it("gives the memory of its parts to others when its client does not read", async () => {
    const answer = await app.request(blobPath);
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    const chunks: Uint8Array[] = [];
    const read = async (): Promise<boolean> => {
      const { value } = await reader.read();
      if (value !== undefined) chunks.push(value);
      return value !== undefined;
    };
    while (store.ranges < 2) await read();
    await takeAllMemory();
    while (await read());
    expect(sha256(Buffer.concat(chunks))).toBe(digest);
  });

  it("is read by one request if its chunks are so large that they had come before they were read", async () => {
    store.chunkBytes = mebibyte;
    const answer = await app.request(blobPath);
    expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(digest);
    expect(store.mostOpen).toBe(1);
  });

  it("is read by one request if there is little memory", async () => {
    layout = openLayout(store, { maxBufferBytes: 16 * mebibyte });
    const answer = await createApp({ layout, access: "anyone" }).request(blobPath);
    expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(digest);
    expect(store.mostOpen).toBe(1);
  });
});

describe("an export", () => {
  it("has large blobs that are read by several requests at once", async () => {
    const answer = await app.request("/v1/export/team/app:1");
    const tar = Buffer.from(await answer.arrayBuffer());
    expect(tar.length).toBe(Number(answer.headers.get("Content-Length")));
    expect(tar.includes(layer)).toBe(true);
    expect(store.mostOpen).toBeGreaterThan(1);
    await expect.poll(() => store.open).toBe(0);
  });
});

async function* failing(): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(1000);
  await Promise.resolve();
  throw new Error("the connection broke");
}
