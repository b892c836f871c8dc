import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import worker from "../../src/runtimes/workers.ts";
import type { Settings } from "../../src/settings/settings.ts";
import { readableToBytes } from "../../src/streams/readable-stream.ts";
import { randomBytes } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, withBadBlob } from "../support/layout.ts";
import { watchBucket } from "./watch-bucket.ts";

const settings: Settings = { ...env, STOWAGE_STORE: "r2:IMAGES/workers", STOWAGE_ALLOW_ANYONE: "true" };
const { bucket } = watchBucket();

async function ask(path: string, init: RequestInit = {}, given: Settings = settings): Promise<Response> {
  const work: Promise<unknown>[] = [];
  const request = new Request(`https://stowage.example${path}`, init);
  const response = await worker.fetch(request, given, { waitUntil: (task) => void work.push(task) });
  const body = await response.arrayBuffer();
  await Promise.all(work);
  return new Response(request.method === "HEAD" ? null : body, response);
}

describe("the Worker", () => {
  it.each([
    ["a binding that is not there", { STOWAGE_STORE: "r2:NOTHING" }],
    ["a store of an unknown kind", { STOWAGE_STORE: "ftp://secret-host" }],
    ["nobody said who may", { STOWAGE_ALLOW_ANYONE: "" }],
  ])("answers 503 without details while its settings cannot be used: %s", async (_, wrong) => {
    const response = await ask("/v2/", {}, { ...settings, ...wrong });
    const text = await response.text();
    expect(response.status).toBe(503);
    expect(JSON.parse(text)).toMatchObject({ errors: [{ code: "INPUT_INVALID" }] });
    expect(text).not.toMatch(/NOTHING|secret-host|STOWAGE_/);
  });

  it("looks at its settings again after that", async () => {
    expect((await ask("/v2/")).status).toBe(200);
  });

  it("loads into R2 and answers pulls with the length of every body", async () => {
    const layout = makeLayout({ layers: [randomBytes(6_000_000), randomBytes(1000, 2)], name: "team/app:1" });
    const loaded = await ask("/v1/load", { method: "PUT", body: new Uint8Array(await tarOf(layout)) });
    expect(loaded.status).toBe(201);
    const manifest = await ask("/v2/team/app/manifests/1");
    expect(manifest.headers.get("Docker-Content-Digest")).toBe(layout.digest);
    for (const digest of layout.layers) {
      const blob = await ask(`/v2/team/app/blobs/${digest}`);
      const bytes = layout.blobs.get(digest);
      expect(blob.headers.get("Content-Length")).toBe(String(bytes?.length));
      expect(bytes?.equals(new Uint8Array(await blob.arrayBuffer()))).toBe(true);
    }
    expect(await bucket.head("workers/index.json")).toBeNull();
    expect(await bucket.head("workers/repositories/team/app/_layout/index.json")).not.toBeNull();
  });

  it.each([
    ["before its first byte", 0],
    ["in the middle", 2],
  ])("ends a pull whose client goes %s", async (_, chunks) => {
    const layout = makeLayout({ layers: [randomBytes(3_000_000, 7)], name: "team/gone:1" });
    await ask("/v1/load", { method: "PUT", body: new Uint8Array(await tarOf(layout)) });
    let cancelled = 0;
    const get: typeof bucket.get = async (...args) => {
      const object = await bucket.get(...args);
      if (object === null || !args[0].includes("/blobs/")) return object;
      await object.body.cancel();
      const pull = (controller: ReadableByteStreamController): void => controller.enqueue(new Uint8Array(65_536));
      const body = new ReadableStream({ type: "bytes", pull, cancel: () => void cancelled++ });
      return { key: object.key, size: object.size, etag: object.etag, body };
    };
    const work: Promise<unknown>[] = [];
    const request = new Request(`https://stowage.example/v2/team/gone/blobs/${layout.layers[0]}`);
    const given = { ...settings, STOWAGE_STORE: "r2:WATCHED/workers", WATCHED: { ...bucket, get } };
    const fresh = await freshWorker();
    const response = await fresh.fetch(request, given, { waitUntil: (task) => void work.push(task) });
    const reader = response.body?.getReader();
    for (let i = 0; i < chunks; i++) await reader?.read();
    await reader?.cancel();
    await Promise.all(work);
    expect(cancelled).toBe(1);
  });
});

describe("an export of the Worker", () => {
  it("reads the bucket as slowly as its client reads, and ends with it", async () => {
    const chunkBytes = 65_536;
    const layout = makeLayout({ layers: [randomBytes(60 * chunkBytes, 8)], name: "team/export:1" });
    const [layer = "sha256:"] = layout.layers;
    await ask("/v1/load", { method: "PUT", body: new Uint8Array(await tarOf(layout)) });
    let [sent, cancelled] = [0, 0];
    const get: typeof bucket.get = async (...args) => {
      const object = await bucket.get(...args);
      if (object === null || !args[0].endsWith(layer.slice("sha256:".length))) return object;
      await object.body.cancel();
      const pull = (controller: ReadableByteStreamController): void => {
        const start = sent++ * chunkBytes;
        controller.enqueue(new Uint8Array(layout.blobs.get(layer)?.subarray(start, start + chunkBytes) ?? []));
      };
      const body = new ReadableStream({ type: "bytes", pull, cancel: () => void cancelled++ });
      return { key: object.key, size: object.size, etag: object.etag, body };
    };
    const work: Promise<unknown>[] = [];
    const request = new Request("https://stowage.example/v1/export/team/export:1");
    const given = { ...settings, STOWAGE_STORE: "r2:WATCHED/workers", WATCHED: { ...bucket, get } };
    const fresh = await freshWorker();
    const response = await fresh.fetch(request, given, { waitUntil: (task) => void work.push(task) });
    const chunks = readableToBytes(response.body);
    for (let read = 0; read < 2 * chunkBytes;) {
      const next = await chunks.next();
      if (next.done === true) break;
      read += next.value.length;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(sent).toBeLessThan(15); // of 60
    await chunks.return?.();
    await Promise.all(work);
    expect(cancelled).toBe(1);
  });
});

/** One that has not opened its store yet. */
async function freshWorker(): Promise<typeof worker> {
  vi.resetModules();
  return (await import("../../src/runtimes/workers.ts")).default;
}

describe("the Worker's Cron Trigger", () => {
  async function condemnedIn(prefix: string): Promise<number> {
    return (await bucket.list({ prefix: `${prefix}/condemned/` })).objects.length;
  }

  it("collects garbage, unless the settings say never", async () => {
    const given = { ...settings, STOWAGE_STORE: "r2:IMAGES/gc" };
    let fresh = await freshWorker();
    const send = async (path: string, init: RequestInit): Promise<number> => {
      const work: Promise<unknown>[] = [];
      const request = new Request(`https://stowage.example${path}`, init);
      const response = await fresh.fetch(request, given, { waitUntil: (task) => void work.push(task) });
      await response.arrayBuffer();
      await Promise.all(work);
      return response.status;
    };
    const body = new Uint8Array(await tarOf(makeLayout({ layers: [randomBytes(1000)] })));
    expect(await send("/v1/load/team/app:1", { method: "PUT", body })).toBe(201);
    expect(await send("/v2/team/app/manifests/1", { method: "DELETE" })).toBe(202);
    fresh = await freshWorker();
    await fresh.scheduled({}, { ...given, STOWAGE_GC_EVERY: "never" });
    expect(await condemnedIn("gc")).toBe(0);
    fresh = await freshWorker();
    await fresh.scheduled({}, given);
    expect(await condemnedIn("gc")).toBe(3);
    await fresh.scheduled({}, given); // too early for another run
    expect(await bucket.head("gc/condemned-run")).not.toBeNull();
  });
});

describe("the Worker's queue", () => {
  async function put(key: string, layout: Layout): Promise<{ readonly key: string; readonly eTag: string }> {
    const object = await bucket.put(key, await tarOf(layout));
    return { key, eTag: object?.etag ?? "" };
  }

  /** What became of the message. */
  async function tell(body: unknown, given: Settings = settings): Promise<string> {
    const outcomes: string[] = [];
    const message = { body, ack: () => void outcomes.push("ack"), retry: () => void outcomes.push("retry") };
    await worker.queue({ messages: [message] }, given);
    return outcomes.join();
  }

  const newLayout = (name: string): Layout => makeLayout({ layers: [randomBytes(1000)], name, label: name });

  it("loads what was put under incoming/, and deletes it", async () => {
    const object = await put("workers/incoming/app.tar", newLayout("queued/app:2"));
    expect(await tell({ action: "PutObject", object })).toBe("ack");
    expect((await ask("/v2/queued/app/manifests/2")).status).toBe(200);
    expect(await bucket.head(object.key)).toBeNull();
  });

  it("does nothing, and is done, when the event comes again", async () => {
    const object = await put("workers/incoming/app.tar", newLayout("queued/app:3"));
    await tell({ action: "CompleteMultipartUpload", object });
    expect(await tell({ action: "CompleteMultipartUpload", object })).toBe("ack");
  });

  it("gives an archive up that is wrong, and keeps it", async () => {
    const layout = newLayout("queued/app:4");
    const object = await put("workers/incoming/bad.tar", withBadBlob(layout, layout.layers[0]));
    expect(await tell({ action: "PutObject", object })).toBe("ack");
    expect((await ask("/v2/queued/app/manifests/4")).status).toBe(404);
    expect(await bucket.head(object.key)).not.toBeNull();
  });

  it.each([
    ["an object elsewhere", { action: "PutObject", object: { key: "elsewhere/app.tar", eTag: "1" } }],
    ["a deletion", { action: "DeleteObject", object: { key: "workers/incoming/app.tar" } }],
    ["no event at all", "hello"],
    ["nothing", null],
  ])("passes over %s", async (_, body) => {
    expect(await tell(body)).toBe("ack");
  });
});
