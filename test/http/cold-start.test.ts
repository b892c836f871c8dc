import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { bytesToReadable } from "../../src/streams/readable-stream.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const layer = randomBytes(1000);
const layout = makeLayout({ layers: [layer], name: "team/app:1" });

let bucket: MemoryStore;
beforeEach(async () => {
  bucket = new MemoryStore();
  await load(
    createApp({ layout: openLayout(bucket), access: "anyone" }),
    new Blob([new Uint8Array(await tarOf(layout))]),
  );
});

async function load(app: Hono, body: Blob | ReadableStream<Uint8Array>): Promise<void> {
  expect((await app.request("/v1/load", { method: "PUT", body, duplex: "half" })).ok).toBe(true);
}

/** A process that has just started, over a bucket in which others have worked before. */
function startCold(): { app: Hono; store: CountingStore; total: () => number } {
  const store = new CountingStore(bucket);
  const total = (): number => Object.values<number>({ ...store.requests }).reduce((sum, count) => sum + count, 0);
  return { app: createApp({ layout: openLayout(store), access: "anyone" }), store, total };
}

describe("a cold start", () => {
  it.each([
    ["a manifest by tag", "/v2/team/app/manifests/1", 2],
    ["a manifest by digest", `/v2/team/app/manifests/${layout.digest}`, 2],
    ["a blob", `/v2/team/app/blobs/${sha256(layer)}`, 1],
    ["the tags", "/v2/team/app/tags/list", 1],
    ["readiness to talk", "/v2/", 0],
  ])("answers %s after at most so many requests to the store", async (_, path, expected) => {
    const { app, total } = startCold();
    const response = await app.request(path);
    expect(response.status).toBe(200);
    await response.arrayBuffer();
    expect(total()).toBe(expected);
  });

  it("has written a load's first blob after four requests", async () => {
    const { app, store, total } = startCold();
    let tellWritten: (requests: number) => void = () => undefined;
    const written = new Promise<number>((resolve) => (tellWritten = resolve));
    const put = store.put.bind(store);
    store.put = async (key, ...rest) => {
      const result = await put(key, ...rest);
      if (key.startsWith("blobs/")) tellWritten(total());
      return result;
    };
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(500, 2)], name: "team/other:1" }));
    const firstEntryBytes = 1024;
    async function* slowly(): AsyncGenerator<Uint8Array> {
      yield tarball.subarray(0, firstEntryBytes);
      await written;
      yield tarball.subarray(firstEntryBytes);
    }
    await load(app, bytesToReadable(slowly()));
    expect(await written).toBe(4); // is the store probed, what is condemned, is the blob there, the blob
  });
});
