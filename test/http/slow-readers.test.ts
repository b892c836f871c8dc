/** Clients that do not read their answers: what they hold, and who is served meanwhile. */
import type { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { GetOptions, StoredObject } from "../../src/storage/object-store.ts";
import { readableToBytes } from "../../src/streams/readable-stream.ts";
import { chunksOf, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const chunkBytes = 64 * 1024;
/** Of the store. */
const maxOpenBodies = 4;
/** Answers with blobs that are sent at once. */
const maxBlobAnswers = 32;
/** Tarballs that are sent at once. */
const maxArchives = 64;
const layer = randomBytes(6 * chunkBytes);
const digest = sha256(layer);
const blobPath = `/v2/team/app/blobs/${digest}`;
const token = {
  name: "ci",
  sha256: sha256(Buffer.from("secret")).slice(7),
  actions: ["pull"],
  repositories: ["**"],
} as const;
const asToken = { headers: { Authorization: "Bearer secret" } };

/** Hands out bodies in chunks of 64 KiB, and knows how many are open. */
class WatchedStore extends ForwardingStore {
  override get maxOpenBodies(): number {
    return maxOpenBodies;
  }

  open = 0;
  mostOpen = 0;
  gets = 0;
  chunks = 0;
  /** Such keys are opened after this resolves, also for a request that has ended meanwhile. */
  opening: { readonly match: (key: string) => boolean; readonly until: Promise<void> } | undefined;
  /** Bodies of such keys say nothing until this resolves. */
  stalled: { readonly match: (key: string) => boolean; readonly until: Promise<void> } | undefined;

  override async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    const isLate = this.opening?.match(key) === true;
    if (isLate) await this.opening?.until;
    const object = await super.get(key, isLate ? { range: options.range } : options);
    if (object === undefined) return undefined;
    this.gets++;
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    const end = (): void => void (isOpen && this.open--, (isOpen = false));
    let isOpen = true;
    const chunks = chunksOf(await readAll(object.body), chunkBytes);
    const body: AsyncIterableIterator<Uint8Array> = {
      [Symbol.asyncIterator]: () => body,
      next: async () => {
        if (this.stalled?.match(key) === true) await this.stalled.until;
        const next = await chunks.next();
        this.chunks++;
        if (next.done === true) end();
        return next;
      },
      return: async () => (end(), { done: true, value: undefined }),
    };
    return { ...object, body };
  }
}

let store: WatchedStore;
let app: Hono;
beforeEach(async () => {
  const memory = new MemoryStore();
  await loadArchive(
    openLayout(memory),
    chunksOf(await tarOf(makeLayout({ layers: [layer], name: "team/app:1" })), chunkBytes),
  );
  vi.useFakeTimers();
  store = new WatchedStore(memory);
  app = createApp({ layout: openLayout(store), access: { tokens: [token], anonymousPull: true } });
});
afterEach(() => void vi.useRealTimers());

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  return app.request(path, init);
}

/** Asks, and does not read. */
async function begin(path: string, count: number, init: RequestInit = {}): Promise<Promise<Response>[]> {
  const begun = Array.from({ length: count }, async () => request(path, init));
  await vi.advanceTimersByTimeAsync(0);
  return begun;
}

async function within<T>(seconds: number, promise: Promise<T>): Promise<T | "too late"> {
  const late = new Promise<"too late">((resolve) => setTimeout(resolve, seconds * 1000, "too late"));
  for (let ms = 0; ms < seconds * 1000; ms += 250) await vi.advanceTimersByTimeAsync(250);
  for (let i = 0; i < 10; i++) await vi.advanceTimersByTimeAsync(0);
  return Promise.race([promise, late]);
}

/** Reads an answer to its end. */
async function digestOf(response: Response | Promise<Response>): Promise<string> {
  const { body } = await response;
  return sha256(await readAll(readableToBytes(body)));
}

async function pull(path = blobPath, init: RequestInit = {}): Promise<string> {
  return digestOf(request(path, init));
}

describe("clients that pull a blob and do not read it", () => {
  it("give their connections to the store to those who wait, and get the whole blob once they read", async () => {
    const slow = await begin(blobPath, 3 * maxOpenBodies);
    const pulled = await within(5, pull());
    expect(pulled).toBe(digest);
    expect(store.mostOpen).toBeLessThanOrEqual(maxOpenBodies);
    expect(new Set(await within(5, Promise.all(slow.map(digestOf))))).toEqual(new Set([digest]));
    expect(store.open).toBe(0);
  });

  it("give them to those who read on after a pause, in ranges as well", async () => {
    const slow = await begin(blobPath, maxOpenBodies, { headers: { Range: "bytes=1000-300000" } });
    const readers = (await Promise.all(slow)).map(({ body }) => readableToBytes(body));
    const first = await Promise.all(readers.map(async (reader) => reader.next()));
    const others = await begin(blobPath, maxOpenBodies);
    await vi.advanceTimersByTimeAsync(2000);
    const rest = await within(5, Promise.all(readers.map(readAll)));
    if (rest === "too late") throw new Error("expected the rest within five seconds");
    const read = rest.map((bytes, i) => sha256(Buffer.concat([first[i]?.value ?? Buffer.alloc(0), bytes])));
    expect(new Set(read)).toEqual(new Set([sha256(layer.subarray(1000, 300_001))]));
    await Promise.all(others.map(digestOf));
    expect(store.mostOpen).toBeLessThanOrEqual(maxOpenBodies);
  });

  it("keep their connections while nobody waits", async () => {
    const slow = await begin(blobPath, maxOpenBodies);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(new Set(await Promise.all(slow.map(digestOf)))).toEqual(new Set([digest]));
    expect(store.gets).toBe(maxOpenBodies);
  });

  it("are told that the blob is gone if it is deleted while they pause", async () => {
    const slow = await begin(blobPath, maxOpenBodies);
    const others = await begin(blobPath, maxOpenBodies);
    await vi.advanceTimersByTimeAsync(2000);
    await store.delete(blobKey(digest));
    const failure = Promise.all(slow.map(digestOf)).catch((error: unknown) => error);
    expect(await within(5, failure)).toMatchObject({ code: "STORE_DAMAGED" });
    for (const response of others) await (await response).body?.cancel();
    expect(store.open).toBe(0);
  });

  it("give everything back when they go away", async () => {
    const leaving = new AbortController();
    const slow = await begin(blobPath, 3 * maxOpenBodies, { signal: leaving.signal });
    for (const response of slow) response.catch(() => undefined);
    await vi.advanceTimersByTimeAsync(100);
    leaving.abort(new Error("gone"));
    await vi.advanceTimersByTimeAsync(0);
    expect(store.open).toBe(0);
    expect(await pull()).toBe(digest);
    const left = await begin(blobPath, maxOpenBodies);
    for (const response of left) await (await response).body?.cancel();
    expect(store.open).toBe(0);
  });

  it("do not hold up manifests, HEADs and small lists", async () => {
    expect(await begin(blobPath, 3 * maxOpenBodies)).toHaveLength(3 * maxOpenBodies);
    for (const path of ["/v2/team/app/manifests/1", "/v2/team/app/tags/list", "/v2/_catalog"]) {
      expect((await request(path)).status).toBe(200);
    }
    expect((await request(blobPath, { method: "HEAD" })).status).toBe(200);
  });

  it("are cut off once very many are there and others wait, but for those who read on", async () => {
    const [steady = request(blobPath), ...slow] = await begin(blobPath, maxBlobAnswers);
    const read = readAll(paced(steady, 500)).then(sha256);
    const late = pull();
    expect(await within(9, late)).toBe(digest);
    expect(await within(5, read)).toBe(digest);
    const ends = await Promise.allSettled(slow.map(digestOf));
    const cut = ends.filter((end) => end.status === "rejected");
    expect(cut.length).toBeGreaterThan(0);
    expect(cut.length).toBeLessThan(10); // as many as were needed
    for (const { reason } of cut) expect(reason).toMatchObject({ code: "TIMED_OUT" });
  });
});

describe("clients that export an image and do not read it", () => {
  const exportPath = "/v1/export/team/app:1";
  let tarball: string;
  beforeEach(async () => {
    tarball = await pull(exportPath);
    store.mostOpen = 0;
  });

  it("give their connections to the store to those who wait, and get the whole tarball once they read", async () => {
    const slow = await readUpTo(chunkBytes, await begin(exportPath, 3 * maxOpenBodies));
    expect(await within(5, pull())).toBe(digest);
    expect(await within(5, pull(exportPath))).toBe(tarball);
    expect(store.mostOpen).toBeLessThanOrEqual(maxOpenBodies);
    const whole = await within(5, Promise.all(slow.map(async ({ read, rest }) => wholeOf(read, rest))));
    expect(new Set(whole)).toEqual(new Set([tarball]));
    expect(store.open).toBe(0);
  });

  it("read no further ahead than a few chunks", async () => {
    const large = randomBytes(60 * chunkBytes, 5);
    const layout = makeLayout({ layers: [large], name: "team/large:1" });
    await loadArchive(openLayout(store), chunksOf(await tarOf(layout), chunkBytes));
    store.chunks = 0;
    const [slow] = await readUpTo(chunkBytes, await begin("/v1/export/team/large:1", 1));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(store.chunks).toBeLessThan(20); // with those of the manifest and the lists
    await slow?.rest.return?.();
  });

  it.each([
    ["the request", async (leaving: AbortController) => leaving.abort(new Error("gone"))],
    ["the answer", async (_: AbortController, rest: AsyncIterator<Uint8Array>) => void (await rest.return?.())],
  ])("give everything back when they end %s", async (_, end) => {
    const leaving = new AbortController();
    const slow = await readUpTo(chunkBytes, await begin(exportPath, maxOpenBodies, { signal: leaving.signal }));
    expect(store.open).toBe(maxOpenBodies);
    for (const { rest } of slow) await end(leaving, rest);
    await vi.advanceTimersByTimeAsync(0);
    expect(store.open).toBe(0);
    expect(await within(0, pull(exportPath))).toBe(tarball);
  });

  it("leave no blob open that the store opens after they have gone", async () => {
    let goOn: () => void = () => undefined;
    store.opening = { match: (key) => key === blobKey(digest), until: new Promise((resolve) => (goOn = resolve)) };
    const leaving = new AbortController();
    await readUpTo(1, await begin(exportPath, maxOpenBodies, { signal: leaving.signal }));
    store.gets = 0;
    leaving.abort(new Error("gone"));
    await vi.advanceTimersByTimeAsync(0);
    goOn();
    await vi.advanceTimersByTimeAsync(100);
    expect([store.gets, store.open]).toEqual([maxOpenBodies, 0]);
    expect(await within(0, pull(exportPath))).toBe(tarball);
  });

  it("wait no longer for a connection to the store when they have gone", async () => {
    let goOn: () => void = () => undefined;
    store.stalled = { match: (key) => key === blobKey(digest), until: new Promise((resolve) => (goOn = resolve)) };
    const busy = (await begin(blobPath, maxOpenBodies)).map(digestOf);
    const [slow] = await readUpTo(1, await begin(exportPath, 1));
    expect(await within(0, slow?.rest.return?.() ?? Promise.reject(new Error("expected an answer")))).toMatchObject({
      done: true,
    });
    goOn();
    expect(new Set(await Promise.all(busy))).toEqual(new Set([digest]));
  });

  it("are cut off once very many are there and others wait", async () => {
    const slow = await readUpTo(chunkBytes, await begin(exportPath, maxArchives));
    expect(await within(9, pull(exportPath))).toBe(tarball);
    const ends = await within(5, Promise.allSettled(slow.map(async ({ read, rest }) => wholeOf(read, rest))));
    if (ends === "too late") throw new Error("expected all ends within five seconds");
    const cut = ends.filter((end) => end.status === "rejected");
    expect(cut.length).toBeGreaterThan(0);
    for (const { reason } of cut) expect(reason).toMatchObject({ code: "TIMED_OUT" });
    expect(store.open).toBe(0);
  });
});

interface HalfRead {
  readonly read: Uint8Array[];
  readonly rest: AsyncIterableIterator<Uint8Array>;
}

/** Reads so much of each answer and then pauses. */
async function readUpTo(bytes: number, responses: readonly Promise<Response>[]): Promise<HalfRead[]> {
  const begun = Promise.all(
    responses.map(async (response) => {
      const rest = readableToBytes((await response).body);
      const read: Uint8Array[] = [];
      while (Buffer.concat(read).length < bytes) read.push(...(await readChunks(rest, 1)));
      return { read, rest };
    }),
  );
  const readers = await within(20, begun);
  if (readers === "too late") throw new Error("expected the first bytes within twenty seconds");
  return readers;
}

async function wholeOf(read: readonly Uint8Array[], rest: AsyncIterable<Uint8Array>): Promise<string> {
  return sha256(Buffer.concat([...read, await readAll(rest)]));
}

describe("a crowd without a token", () => {
  it("is served to the last request, also if a thousand come at once", async () => {
    const pulled = (await begin(blobPath, 1000)).map(digestOf);
    const digests = await within(9, Promise.allSettled(pulled));
    if (digests === "too late") throw new Error("expected all blobs within nine seconds");
    expect(digests.filter((result) => result.status === "rejected" || result.value !== digest)).toEqual([]);
    expect(store.open).toBe(0);
  });
});

describe("a pull for which no connection to the store is to be had", () => {
  it("is answered 429, with Retry-After, after ten seconds", async () => {
    let goOn: () => void = () => undefined;
    store.stalled = { match: () => true, until: new Promise((resolve) => (goOn = resolve)) };
    const busy = (await begin(blobPath, maxOpenBodies)).map(digestOf);
    const refused = request(blobPath);
    expect(await within(9, refused)).toBe("too late");
    const response = await within(2, refused);
    if (response === "too late") throw new Error("expected an answer within eleven seconds");
    expect(response.status).toBe(429);
    expect(response.headers.get("Retry-After")).toBe("10");
    expect(await response.json()).toMatchObject({
      errors: [{ code: "TOOMANYREQUESTS", detail: { expected: maxOpenBodies } }],
    });
    goOn();
    expect(new Set(await Promise.all(busy))).toEqual(new Set([digest]));
  });

  it("is not held up by another caller who has them all, even one that reads as fast as it can", async () => {
    const readers = (await Promise.all(await begin(blobPath, maxOpenBodies))).map(({ body }) => readableToBytes(body));
    await Promise.all(readers.map(async (reader) => reader.next()));
    const pulled = pull(blobPath, asToken);
    await vi.advanceTimersByTimeAsync(0);
    const next = readers[0]?.next();
    expect(await within(0, pulled)).toBe(digest);
    expect(await within(5, Promise.resolve(next))).toMatchObject({ done: false });
  });
});

describe("clients that read on all the time", () => {
  it("pass their connections on to others of the same caller", async () => {
    const large = randomBytes(60 * chunkBytes, 3);
    await loadArchive(
      openLayout(store),
      chunksOf(await tarOf(makeLayout({ layers: [large], name: "team/large:1" })), chunkBytes),
    );
    const path = `/v2/team/app/blobs/${sha256(large)}`;
    const busy = (await begin(path, maxOpenBodies)).map(async (response) =>
      sha256(await readAll(paced(response, 100))),
    );
    expect(await within(3, pull())).toBe(digest);
    expect(new Set(await within(10, Promise.all(busy)))).toEqual(new Set([sha256(large)]));
  });

  it("pass them on after a mebibyte, however fast they read", async () => {
    const large = randomBytes(40 * chunkBytes, 4);
    await loadArchive(
      openLayout(store),
      chunksOf(await tarOf(makeLayout({ layers: [large], name: "team/large:1" })), chunkBytes),
    );
    const busy = await Promise.all(await begin(`/v2/team/app/blobs/${sha256(large)}`, maxOpenBodies));
    const readers = busy.map(({ body }) => readableToBytes(body));
    const waiting = pull();
    const read = await Promise.all(readers.map(async (reader) => readChunks(reader, 16)));
    const next = Promise.all(readers.map(async (reader) => readChunks(reader, 1)));
    expect(await within(0, waiting)).toBe(digest);
    const chunks = (await next).map((chunk, i) => [...(read[i] ?? []), ...chunk]);
    const rest = await Promise.all(readers.map(readAll));
    const whole = rest.map((bytes, i) => sha256(Buffer.concat([...(chunks[i] ?? []), bytes])));
    expect(new Set(whole)).toEqual(new Set([sha256(large)]));
    expect(store.open).toBe(0);
  });
});

async function readChunks(reader: AsyncIterator<Uint8Array>, count: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  while (chunks.length < count) {
    const next = await reader.next();
    if (next.done === true) break;
    chunks.push(next.value);
  }
  return chunks;
}

/** Reads a chunk every so many milliseconds. */
async function* paced(response: Promise<Response>, ms: number): AsyncGenerator<Uint8Array> {
  const { body } = await response;
  for await (const chunk of readableToBytes(body)) {
    yield chunk;
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

describe("clients that do not read what is large and no blob", () => {
  const maxManifestBytes = 160_000; // eight times as many for all large answers
  const tags = Array.from({ length: 1000 }, (_, i) => `${"t".repeat(120)}${String(i).padStart(5, "0")}`);

  beforeEach(() => {
    app = createApp({
      layout: openLayout(store, { maxManifestBytes, maxBufferBytes: 4 * 8 * maxManifestBytes }),
      access: "anyone",
    });
  });

  it("hold no memory beyond a cap for long lists: they are cut off while others wait", async () => {
    const [image] = makeLayout({ name: "team/app:1" }).roots;
    if (image === undefined) throw new Error("expected a root");
    const { mediaType, digest: at, size } = image;
    const changes = tags.map((tag): SetChange => ({ op: "set", tag, mediaType, digest: at, size }));
    await updateRepository(openLayout(store), { repository: "team/tags", changes });
    const path = "/v2/team/tags/tags/list";
    const slow = (await begin(path, 9)).map(bytesUntilEnd); // 128 KB each, of 1,280 KB
    const late = request(path).then(async (response) => response.json());
    late.catch(() => undefined);
    expect((await request(`${path}?n=100`)).status).toBe(200);
    expect(await within(9, late)).toEqual({ name: "team/tags", tags });
    const cut = (await Promise.all(slow)).filter((error) => error !== undefined);
    expect(cut[0]).toMatchObject({ code: "TIMED_OUT" });
  });

  it("get large manifests as they read, with no more than eight in memory at once", async () => {
    const large = await Promise.all(Array.from({ length: 20 }, async (_, i) => loadLarge(i)));
    const goOn = stall(large);
    const slow = await Promise.all(large.map(async (_, i) => begin(`/v2/team/large/manifests/${i}`, 1)));
    await vi.advanceTimersByTimeAsync(1000);
    expect(store.open).toBe(8);
    expect((await request("/v2/team/app/manifests/1")).status).toBe(200);
    goOn();
    const answers = await within(5, Promise.all(slow.flat()));
    if (answers === "too late") throw new Error("expected the answers within five seconds");
    for (const [i, answer] of answers.entries()) {
      expect(answer.headers.get("Docker-Content-Digest")).toBe(large[i]?.digest);
      expect(answer.headers.get("Content-Length")).toBe(String(large[i]?.size));
    }
    expect(await within(5, Promise.all(answers.map(digestOf)))).toEqual(large.map(({ digest: at }) => at));
    expect(store.open).toBe(0);
  });

  it("share the check of a large manifest, and the one who began it can go away", async () => {
    const manifest = await loadLarge(0);
    const goOn = stall([manifest]);
    const leaving = new AbortController();
    const path = "/v2/team/large/manifests/0";
    store.gets = 0;
    const [first] = await begin(path, 1, { method: "HEAD", signal: leaving.signal });
    const gone = first?.catch((error: unknown) => error);
    const others = await begin(path, 300, { method: "HEAD" });
    await vi.advanceTimersByTimeAsync(1000);
    expect(store.open).toBe(1);
    leaving.abort(new Error("gone"));
    await gone;
    goOn();
    const answers = await within(5, Promise.all(others));
    if (answers === "too late") throw new Error("expected the answers within five seconds");
    expect(new Set(answers.map(({ headers }) => headers.get("Docker-Content-Digest")))).toEqual(
      new Set([manifest.digest]),
    );
    expect(store.gets).toBeLessThan(10); // of the index and of the manifest, for 301 requests
    expect(store.open).toBe(0);
    expect(await pull(path)).toBe(manifest.digest);
  });

  it("share the reads of large referrers, within the memory for large answers", async () => {
    const subject = makeLayout({ name: "team/app:1" });
    const [root] = subject.roots;
    if (root === undefined) throw new Error("expected a root");
    const about = { subject: { mediaType: root.mediaType, digest: root.digest, size: root.size } };
    const large = await Promise.all(Array.from({ length: 20 }, async (_, i) => loadLarge(i, about)));
    const path = `/v2/team/large/referrers/${root.digest}`;
    const goOn = stall(large);
    store.gets = 0;
    const slow = await begin(path, 100, { method: "HEAD" });
    await vi.advanceTimersByTimeAsync(1000);
    expect(store.open).toBeLessThanOrEqual(8);
    goOn();
    const answers = await within(9, Promise.all(slow));
    if (answers === "too late") throw new Error("expected the answers within nine seconds");
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(store.gets).toBeLessThan(100); // 2,000 without sharing
    const page = await within(5, request(path));
    if (page === "too late") throw new Error("expected the referrers within five seconds");
    expect(await page.json()).toMatchObject({ manifests: expect.objectContaining({ length: 20 }) as unknown });
  });

  /** Loads an image whose manifest has nearly `maxManifestBytes`. */
  async function loadLarge(
    tag: number,
    more: Record<string, unknown> = {},
  ): Promise<{ readonly digest: Digest; readonly size: number }> {
    const annotations = { a: "a".repeat(maxManifestBytes - 2000), tag: String(tag) };
    const layout = makeLayout({ name: `team/large:${tag}`, manifest: { annotations, ...more } });
    await loadArchive(openLayout(store), chunksOf(await tarOf(layout), chunkBytes));
    return { digest: layout.digest, size: layout.blobs.get(layout.digest)?.length ?? 0 };
  }

  /** The store's bodies of these blobs say nothing until the returned function is called. */
  function stall(blobs: readonly { readonly digest: Digest }[]): () => void {
    let goOn: () => void = () => undefined;
    const keys = new Set(blobs.map(({ digest: at }) => blobKey(at)));
    store.stalled = { match: (key) => keys.has(key), until: new Promise((resolve) => (goOn = resolve)) };
    return () => goOn();
  }
});

/** Why an answer that nobody reads for nine seconds ended before its last byte, if it did. */
async function bytesUntilEnd(response: Promise<Response>): Promise<unknown> {
  const { body } = await response;
  await new Promise((resolve) => setTimeout(resolve, 9000));
  return readAll(readableToBytes(body)).then(
    () => undefined,
    (error: unknown) => error,
  );
}
