import type { Hono } from "hono";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { ByteBudget } from "../../src/streams/byte-budget.ts";
import { bytesToReadable } from "../../src/streams/readable-stream.ts";
import type { UploadAnswer } from "../runtimes/trial.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes, sha256, stallAfter } from "../support/bytes.ts";
import { makeLayout, tarOf, withBadBlob } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;
const host = "http://stowage.test";

/** Two parts of 8 MiB and a shorter one. */
const layers = [randomBytes(9 * mebibyte, 1), randomBytes(8 * mebibyte, 2)];
const layout = makeLayout({ layers, name: "team/app:1.4" });
const tarball = await tarOf(layout);

function makeApp(store: ObjectStore, options: Partial<AppOptions> = {}): Hono {
  return createApp({ layout: openLayout(store), access: "anyone", ...options });
}

/** A client that finds the service at `host`, and everything else where it is. */
function clientOf(app: Hono) {
  const send = async (url: string, init?: RequestInit): Promise<Response> =>
    url.startsWith(host) ? app.request(url, init) : fetch(url, init);
  const begin = async (body: object): Promise<{ response: Response; upload: UploadAnswer }> => {
    const response = await app.request(`${host}/v1/uploads`, { method: "POST", body: JSON.stringify(body) });
    expect(response.ok, await response.clone().text()).toBe(true);
    return { response, upload: (await response.json()) as UploadAnswer };
  };
  const look = async (id: string): Promise<UploadAnswer> =>
    (await app.request(`${host}/v1/uploads/${id}`)).json() as Promise<UploadAnswer>;
  const put = async (url: string, bytes: Uint8Array): Promise<number> => {
    const response = await send(url, { method: "PUT", body: new Uint8Array(bytes) });
    await response.arrayBuffer();
    return response.status;
  };
  const putParts = async ({ parts }: UploadAnswer, bytes: Uint8Array): Promise<void> => {
    const absent = parts.filter(({ present }) => !present);
    const sent = absent.map(({ url, offset, size }) => put(url, bytes.subarray(offset, offset + size)));
    for (const status of await Promise.all(sent)) expect([200, 201]).toContain(status);
  };
  const load = async (id: string, name = ""): Promise<Response> =>
    app.request(`${host}/v1/uploads/${id}/load${name}`, { method: "POST" });
  return { send, begin, look, put, putParts, load };
}

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

async function errorOf(
  response: Response,
): Promise<{ status: number; code?: string; message?: string; detail?: unknown }> {
  const { errors } = (await response.json()) as { errors: { code: string; message: string; detail?: unknown }[] };
  return { status: response.status, ...errors[0] };
}

function describeUploads(name: string, open: () => Promise<ObjectStore>): void {
  describe(`/v1/uploads into ${name}`, () => {
    let store: ObjectStore;
    let client: ReturnType<typeof clientOf>;
    beforeEach(async () => {
      store = await open();
      client = clientOf(makeApp(store));
    });

    it("loads what came in parts, and leaves none of them", async () => {
      const { response, upload } = await client.begin({ size: tarball.length });
      expect(response.status).toBe(201);
      expect(response.headers.get("Location")).toBe(`${host}/v1/uploads/${upload.id}`);
      expect(upload).toMatchObject({ size: tarball.length, partBytes: 8 * mebibyte });
      expect(upload.parts.map(({ number, offset, size, present }) => ({ number, offset, size, present }))).toEqual([
        { number: 1, offset: 0, size: 8 * mebibyte, present: false },
        { number: 2, offset: 8 * mebibyte, size: 8 * mebibyte, present: false },
        { number: 3, offset: 16 * mebibyte, size: tarball.length - 16 * mebibyte, present: false },
      ]);
      await client.putParts(upload, tarball);
      const loaded = await client.load(upload.id);
      expect(await loaded.json()).toMatchObject({
        images: [{ repository: "team/app", reference: "1.4", digest: layout.digest, status: "created" }],
        bytes: { received: tarball.length },
      });
      expect(loaded.status).toBe(201);
      expect(await keysOf(store, "staging/")).toEqual([]);
      for (const layer of layers) expect((await store.head(blobKey(sha256(layer))))?.size).toBe(layer.length);
      expect(await errorOf(await client.load(upload.id))).toMatchObject({ status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    });

    it("goes on after a break: it is found again, says what is there, and takes parts again", async () => {
      const announced = { size: tarball.length, fingerprint: "app.tar 2026-11-24" };
      const { upload } = await client.begin(announced);
      const second = upload.parts[1];
      expect(await client.put(second?.url ?? "", tarball.subarray(8 * mebibyte, 16 * mebibyte))).toBeLessThan(300);

      client = clientOf(makeApp(store)); // another process, or the same one later
      const again = await client.begin(announced);
      expect(again.response.status).toBe(200);
      expect(again.upload.id).toBe(upload.id);
      expect(again.upload.parts.map(({ present }) => present)).toEqual([false, true, false]);
      expect(await errorOf(await client.load(upload.id))).toMatchObject({
        status: 400,
        code: "BLOB_UPLOAD_INVALID",
        detail: { missing: [1, 3] },
      });
      expect(await keysOf(store, "blobs/")).toEqual([]);

      await client.putParts(await client.look(upload.id), tarball);
      const third = upload.parts[2];
      expect(await client.put(third?.url ?? "", tarball.subarray(16 * mebibyte))).toBeLessThan(300);
      expect((await client.look(upload.id)).parts.every(({ present }) => present)).toBe(true);
      expect((await client.load(upload.id, "/other/name:2")).status).toBe(201);
      expect(await keysOf(store, "staging/")).toEqual([]);
    });

    it("begins another upload for another size or fingerprint, or without one", async () => {
      const ids = new Set<string>();
      for (const fingerprint of ["a", "b", undefined, undefined]) {
        for (const size of [1, 2]) ids.add((await client.begin({ size, fingerprint })).upload.id);
      }
      expect(ids.size).toBe(8);
    });

    it("refuses a part of another length", async () => {
      const { upload } = await client.begin({ size: 100 });
      const url = upload.parts[0]?.url ?? "";
      for (const length of [99, 101, 0]) {
        expect(await client.put(url, randomBytes(length))).toBe(url.startsWith(host) ? 400 : 403);
      }
      expect((await client.look(upload.id)).parts).toMatchObject([{ present: false }]);
      expect(await client.put(url, randomBytes(100))).toBeLessThan(300);
    });

    it("does not take a part that was cut short in the store for one that is there", async () => {
      const { upload } = await client.begin({ size: 100 });
      await store.put(`staging/${upload.id}.1`, randomBytes(50));
      expect((await client.look(upload.id)).parts).toMatchObject([{ present: false }]);
      expect(await errorOf(await client.load(upload.id))).toMatchObject({ detail: { missing: [1] } });
    });

    it("keeps the parts of an archive that cannot be loaded until they are deleted", async () => {
      const bad = await tarOf(withBadBlob(makeLayout({ name: "bad:1" }), makeLayout({ name: "bad:1" }).layers[0]));
      const { upload } = await client.begin({ size: bad.length });
      await client.putParts(upload, bad);
      expect(await errorOf(await client.load(upload.id))).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
      expect(await keysOf(store, `staging/${upload.id}.`)).toHaveLength(2);
      const deleted = await client.send(`${host}/v1/uploads/${upload.id}`, { method: "DELETE" });
      expect(deleted.status).toBe(204);
      expect(await keysOf(store, "staging/")).toEqual([]);
      const response = await client.send(`${host}/v1/uploads/${upload.id}`);
      expect(await errorOf(response)).toMatchObject({ status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
    });

    it("says so when a part is gone while the load reads", async () => {
      const { upload } = await client.begin({ size: tarball.length });
      await client.putParts(upload, tarball);
      class LosingStore extends ForwardingStore {
        override async get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
          if (args[0].endsWith(".2")) await store.delete(args[0]);
          return super.get(...args);
        }
      }
      const failing = new LosingStore(store);
      const response = await clientOf(makeApp(failing)).load(upload.id);
      const error = await errorOf(response);
      expect(error).toMatchObject({ status: 400, code: "BLOB_UPLOAD_INVALID", detail: { missing: [2] } });
      expect(error.message).toContain("it is gone");
      expect(await keysOf(store, "repositories/")).toEqual([]);
    });
  });
}

describeUploads("MemoryStore", () => Promise.resolve(new MemoryStore()));

describe("with a directory", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "stowage-uploads-"));
  });
  afterAll(() => rm(root, { recursive: true }));
  describeUploads("DirectoryStore", () => Promise.resolve(new DirectoryStore(join(root, crypto.randomUUID()))));
});

await describeS3Servers("with a bucket", (server) => {
  describeUploads(`S3Store on ${server.name}`, () => makeS3Store(server));

  it("does not take a part for present whose sender went away half way", async () => {
    const store = await makeS3Store(server);
    const client = clientOf(makeApp(store));
    const bytes = randomBytes(1_000_000);
    const { upload } = await client.begin({ size: bytes.length });
    const url = upload.parts[0]?.url ?? "";
    const sending = request(url, { method: "PUT", headers: { "Content-Length": bytes.length } });
    sending.on("error", () => undefined);
    await new Promise<void>((resolve) => sending.write(bytes.subarray(0, 500_000), () => resolve()));
    await sleep(200);
    sending.destroy();
    await sleep(500);
    expect((await client.look(upload.id)).parts).toMatchObject([{ present: false }]);
    expect(await client.put(url, bytes)).toBe(200);
    expect((await client.look(upload.id)).parts).toMatchObject([{ present: true }]);
  });
});

describe("POST /v1/uploads", () => {
  it.each([
    ["no JSON", "size=5", "INPUT_INVALID"],
    ["a list", "[]", "INPUT_INVALID"],
    ["no size", "{}", "INPUT_INVALID"],
    ["a size of nothing", '{"size":0}', "INPUT_INVALID"],
    ["a size that is no number", '{"size":"5"}', "INPUT_INVALID"],
    ["a fingerprint that is no text", '{"size":5,"fingerprint":5}', "INPUT_INVALID"],
    ["a fingerprint without end", `{"size":5,"fingerprint":"${"x".repeat(2000)}"}`, "INPUT_INVALID"],
  ])("refuses %s", async (_, body, code) => {
    const response = await makeApp(new MemoryStore()).request("/v1/uploads", { method: "POST", body });
    expect(await errorOf(response)).toMatchObject({ status: 400, code });
  });

  it.each([
    ["a body without end", JSON.stringify({ size: 5, more: "x".repeat(100_000) })],
    ["more parts than may be", JSON.stringify({ size: 10_000 * 8 * mebibyte + 1 })],
  ])("answers 413 to %s", async (_, body) => {
    const response = await makeApp(new MemoryStore()).request("/v1/uploads", { method: "POST", body });
    expect(await errorOf(response)).toMatchObject({ status: 413, code: "LIMIT_EXCEEDED" });
  });

  it("makes parts that the platform lets through", async () => {
    const { upload } = await clientOf(makeApp(new MemoryStore(), { maxRequestBytes: 1000 })).begin({ size: 2500 });
    expect(upload.parts.map(({ size }) => size)).toEqual([1000, 1000, 500]);
  });

  it("makes larger parts, never more than a thousand, where they go to a bucket", async () => {
    const presigner = { presignGet: () => Promise.resolve("get"), presignPut: (key: string) => Promise.resolve(key) };
    const client = clientOf(makeApp(Object.assign(new MemoryStore(), { presigner })));
    const { upload } = await client.begin({ size: 1e12 });
    expect(upload.partBytes).toBe(954 * mebibyte);
    expect(upload.parts).toHaveLength(1000);
    expect(upload.parts[999]).toMatchObject({ number: 1000, url: `staging/${upload.id}.1000` });
    expect(upload.parts.reduce((sum, { size }) => sum + size, 0)).toBe(1e12);
  });

  it.each([
    ["as the request came", "/v1/uploads", {}, `${host}/v1/uploads/`],
    ["behind a proxy", "/v1/uploads", { "X-Forwarded-Proto": "https, http" }, "https://stowage.test/v1/uploads/"],
    [
      "behind a proxy with a host",
      "/v1/uploads",
      { "X-Forwarded-Host": "a.example:81" },
      "http://a.example:81/v1/uploads/",
    ],
    ["behind a host that is none", "/v1/uploads", { "X-Forwarded-Host": "a b" }, `${host}/v1/uploads/`],
    ["behind something else", "/v1/uploads", { "X-Forwarded-Proto": "javascript" }, `${host}/v1/uploads/`],
    ["below a path", "/images/v1/uploads", {}, `${host}/images/v1/uploads/`],
  ])("answers with whole URLs, %s", async (_, path, headers, expected) => {
    const { Hono: App } = await import("hono");
    const outer = new App().route("/", makeApp(new MemoryStore())).route("/images", makeApp(new MemoryStore()));
    const body = JSON.stringify({ size: 5 });
    const response = await outer.request(host + path, { method: "POST", headers, body });
    const { id, parts } = (await response.json()) as UploadAnswer;
    expect(response.headers.get("Location")).toBe(expected + id);
    expect(parts[0]?.url).toMatch(new RegExp(`^${expected}${id}/parts/1\\?key=[0-9a-f]{32}$`));
  });
});

describe("PUT /v1/uploads/<id>/parts/<number>", () => {
  let budget: ByteBudget;
  let store: MemoryStore;
  let app: Hono;
  let upload: UploadAnswer;
  let url: string;
  beforeEach(async () => {
    store = new MemoryStore();
    const opened = openLayout(store, { maxBufferBytes: 16 * mebibyte });
    ({ budget } = opened);
    app = makeApp(store, { layout: opened });
    upload = (await clientOf(app).begin({ size: 8 * mebibyte + 100 })).upload;
    url = upload.parts[0]?.url ?? "";
  });

  /** All of it can be taken: nothing holds any of it. */
  async function expectFreeBudget(): Promise<void> {
    (await budget.take(budget.maxBytes, { signal: AbortSignal.timeout(1000) }))();
  }

  it.each([
    ["another key", (path: string) => path.replace(/key=.*/, `key=${"0".repeat(32)}`), 403, "DENIED"],
    ["no key", (path: string) => path.replace(/\?key=.*/, ""), 403, "DENIED"],
    ["a part that is none", (path: string) => path.replace("parts/1", "parts/3"), 400, "INPUT_INVALID"],
    ["a part by another name", (path: string) => path.replace("parts/1", "parts/01"), 400, "INPUT_INVALID"],
    ["an unknown upload", (path: string) => path.replace(/[0-9a-f]{32}/, "0".repeat(32)), 404, "BLOB_UPLOAD_UNKNOWN"],
    [
      "what is no id",
      (path: string) => path.replace(/[0-9a-f]{32}/, "..%2F..%2Foci-layout"),
      404,
      "BLOB_UPLOAD_UNKNOWN",
    ],
  ])("refuses %s", async (_, change, status, code) => {
    const response = await app.request(change(url), { method: "PUT", body: new Uint8Array(8 * mebibyte) });
    expect(await errorOf(response)).toMatchObject({ status, code });
    expect(await keysOf(store, "staging/")).toEqual([`staging/${upload.id}.json`]);
    await expectFreeBudget();
  });

  it("refuses a length that is announced before it reads", async () => {
    const init = {
      method: "PUT",
      headers: { "Content-Length": "7" },
      body: bytesToReadable(stallAfter(randomBytes(7))),
    };
    const response = await app.request(url, { ...init, duplex: "half" });
    expect(await errorOf(response)).toMatchObject({ status: 400, code: "SIZE_INVALID", detail: { found: 7 } });
    await expectFreeBudget();
  });

  it("gives the memory back when the client goes away, and when its body breaks off", async () => {
    const controller = new AbortController();
    const stalled = { method: "PUT", body: bytesToReadable(stallAfter(randomBytes(1000))), duplex: "half" };
    const answer = app.request(url, { ...stalled, signal: controller.signal } as RequestInit);
    setTimeout(() => controller.abort(), 20);
    expect((await answer).status).toBe(503);
    await expectFreeBudget();

    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield randomBytes(1000);
      throw new Error("connection reset");
    }
    const broken = { method: "PUT", body: bytesToReadable(breaking()), duplex: "half" };
    expect(await errorOf(await app.request(url, broken as RequestInit))).toMatchObject({ code: "INTERRUPTED" });
    await expectFreeBudget();
    expect(await keysOf(store, "staging/")).toEqual([`staging/${upload.id}.json`]);
  });

  it("waits for memory, no longer than the client does", async () => {
    const release = await budget.take(budget.maxBytes, { signal: AbortSignal.timeout(1000) });
    const controller = new AbortController();
    const init = { method: "PUT", body: new Uint8Array(8 * mebibyte) };
    const gone = app.request(url, { ...init, signal: controller.signal });
    const waiting = app.request(url, init);
    setTimeout(() => controller.abort(), 20);
    expect(await errorOf(await gone)).toMatchObject({ status: 503, code: "INTERRUPTED" });
    release();
    expect((await waiting).status).toBe(201);
    await expectFreeBudget();
  });
});

describe("an upload and tokens", () => {
  it("belongs to whoever began it", async () => {
    const tokens = ["ann", "bob"].map((name) => ({
      name,
      sha256: sha256(Buffer.from(name)).slice("sha256:".length),
      actions: ["load" as const],
      repositories: ["team/**"],
    }));
    const app = makeApp(new MemoryStore(), { access: { tokens, anonymousPull: true } });
    const ask = async (who: string | undefined, path: string, init: RequestInit = {}): Promise<Response> =>
      app.request(path, { ...init, headers: who === undefined ? {} : { Authorization: `Bearer ${who}` } });
    const small = await tarOf(makeLayout({ name: "team/app:1" }));
    const body = JSON.stringify({ size: small.length, fingerprint: "x" });
    expect((await ask(undefined, "/v1/uploads", { method: "POST", body })).status).toBe(401);
    const upload = (await (await ask("ann", "/v1/uploads", { method: "POST", body })).json()) as UploadAnswer;
    const others = (await (await ask("bob", "/v1/uploads", { method: "POST", body })).json()) as UploadAnswer;
    expect(others.id).not.toBe(upload.id);
    expect((await ask("bob", `/v1/uploads/${upload.id}`)).status).toBe(404);
    expect((await ask("bob", `/v1/uploads/${upload.id}`, { method: "DELETE" })).status).toBe(404);
    expect((await ask("bob", `/v1/uploads/${upload.id}/load`, { method: "POST" })).status).toBe(404);
    expect((await ask(undefined, upload.parts[0]?.url ?? "", { method: "PUT", body: small })).status).toBe(201);
    expect((await ask("ann", `/v1/uploads/${upload.id}/load/other:1`, { method: "POST" })).status).toBe(403);
    expect((await ask("ann", `/v1/uploads/${upload.id}/load`, { method: "POST" })).status).toBe(201);
  });
});
