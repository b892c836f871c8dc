/** `loadArchive` as a stranger calls it: with whatever stream is at hand, a bare store, and nothing else. */
import { Readable } from "node:stream";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ layers: [randomBytes(5000)], name: "team/app:1.4" });
const tarball = await tarOf(layout);

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

describe("loadArchive, called with a store alone", () => {
  it.each<[what: string, source: () => AsyncIterable<Uint8Array> | null]>([
    ["a stream of Node's", () => Readable.from([tarball.subarray(0, 999), tarball.subarray(999)])],
    ["a generator", () => chunksOf(tarball, 1000)],
    ["the body of an answer", () => new Response(tarball).body],
    ["a Blob's stream", () => new Blob([tarball]).stream()],
  ])("reads %s", async (_, source) => {
    const receipt = await loadArchive(openLayout(store), source() ?? chunksOf(tarball, 1));
    expect(receipt.images).toMatchObject([{ repository: "team/app", reference: "1.4", status: "created" }]);
    expect(receipt.bytes.received).toBe(tarball.length);
  });

  it("refuses a store that ignores conditional writes, before anything is written into it", async () => {
    const careless = new MemoryStore();
    const ignores = Object.assign(new MemoryStore(), {
      put: async (key: string, bytes: Uint8Array) => careless.put(key, bytes),
    });
    await expect(loadArchive(openLayout(ignores), chunksOf(tarball, 1000))).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringContaining("ignores If-None-Match"),
    });
    expect(await keysOf(ignores)).toEqual([]);
  });

  it("probes the store of a layout once", async () => {
    let asked = 0;
    const get: ObjectStore["get"] = async (key, options) => {
      if (key === "oci-layout") asked += 1;
      return MemoryStore.prototype.get.call(store, key, options);
    };
    const watched = Object.assign(store, { get });
    const opened = openLayout(watched);
    for (const name of ["a", "b", "c"]) await loadArchive(opened, chunksOf(tarball, 1000), { name });
    expect(asked).toBe(1);
  });
});

describe("loadArchive, told more", () => {
  it.each([
    ["team/other:2", "team/other", "2"],
    ["team/other", "team/other", "1.4"],
  ])("calls the image %s", async (name, repository, reference) => {
    const { images } = await loadArchive(openLayout(store), chunksOf(tarball, 1000), { name });
    expect(images).toMatchObject([{ repository, reference }]);
  });

  it.each(["../other", "Team/App", "app:", { repository: "a/../b", tag: undefined }])(
    "refuses the name %j before it reads",
    async (name) => {
      const source = Readable.from([tarball]);
      await expect(loadArchive(openLayout(store), source, { name })).rejects.toMatchObject({ code: "NAME_INVALID" });
      expect(source.readableDidRead).toBe(false);
    },
  );

  it("keeps to the limits that it is given, and to the defaults of all others", async () => {
    const limits = { maxEntries: 2 };
    await expect(loadArchive(openLayout(store, limits), chunksOf(tarball, 1000))).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
    await loadArchive(openLayout(store, { maxIndexDepth: 1 }), chunksOf(tarball, 1000));
  });

  it("takes no more memory than its layout has", async () => {
    await expect(
      loadArchive(openLayout(store, { maxBufferBytes: 4000 }), chunksOf(tarball, 1000)),
    ).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
  });

  it("says what is wrong with a source that yields text", async () => {
    const source = Readable.from([tarball]).setEncoding("latin1");
    await expect(loadArchive(openLayout(store), source)).rejects.toMatchObject({
      code: "INPUT_INVALID",
      message: "Cannot read the archive: its source yields a string, expected Uint8Array",
    });
  });

  it("ends when its signal fires, also while the source is silent", async () => {
    const source = new Readable({ read: () => undefined });
    source.push(tarball.subarray(0, 1000));
    const reason = new Error("enough");
    const aborted = new AbortController();
    const loading = loadArchive(openLayout(store), source, { signal: aborted.signal });
    setTimeout(() => aborted.abort(reason), 20);
    await expect(loading).rejects.toBe(reason);
  });
});

describe("createApp, given some limits", () => {
  it("keeps to them, and to the defaults of all others", async () => {
    const app = createApp({ layout: openLayout(store, { maxEntries: 2 }), access: "anyone" });
    const refused = await app.request("/v1/load", { method: "PUT", body: tarball });
    expect(refused.status).toBe(413);
    const limits: { maxEntries?: number } = {};
    Object.assign(limits, { maxEntries: undefined });
    const lenient = createApp({ layout: openLayout(store, limits), access: "anyone" });
    expect((await lenient.request("/v1/load", { method: "PUT", body: tarball })).status).toBe(201);
  });
});

async function keysOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list("")) keys.push(key);
  return keys;
}
