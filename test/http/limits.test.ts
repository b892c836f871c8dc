import type { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createApp } from "../../src/http/app.ts";
import type { Limits } from "../../src/limits.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { bytesToReadable } from "../../src/streams/readable-stream.ts";
import { randomBytes, sha256, stallAfter } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ layers: [randomBytes(1000)], name: "team/app:1.4" });
const tarball = await tarOf(layout);

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore({ partBytes: 400 });
});

function appWith(limits: Partial<Limits>, objects: ObjectStore = store): Hono {
  return createApp({ layout: openLayout(objects, limits), access: "anyone" });
}

/** A body that comes in chunks, without a length, and tells whether anybody has asked for it. */
function watchedBody(chunks: AsyncIterable<Uint8Array>): { body: ReadableStream<Uint8Array>; isRead: () => boolean } {
  let read = false;
  async function* watched(): AsyncGenerator<Uint8Array> {
    read = true;
    yield* chunks;
  }
  return { body: bytesToReadable(watched()), isRead: () => read };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function put(
  app: Hono,
  body: Uint8Array | ReadableStream<Uint8Array>,
  headers: Record<string, string> = {},
): Promise<Response> {
  const init = { method: "PUT", body, headers, duplex: "half" } as const;
  return app.request(new Request("http://own.example/v1/load", init));
}

async function expectRefusal(
  answer: Response | Promise<Response>,
  expected: { status: number; code: string; limit: keyof Limits; value: number },
): Promise<void> {
  const response = await answer;
  expect(response.status).toBe(expected.status);
  const { errors } = (await response.json()) as { errors: { code: string; message: string; detail: object }[] };
  const [error] = errors;
  expect(error).toMatchObject({
    code: expected.code,
    detail: { limit: expected.limit, expected: expected.value },
  });
  expect(error?.message).toContain(`(${expected.limit})`);
  expect(error?.message).toContain(String(expected.value));
}

async function expectNothingPublished(app: Hono): Promise<void> {
  expect((await app.request("/v2/team/app/manifests/1.4")).status).toBe(404);
}

describe("maxBodyBytes", () => {
  const refusal = { status: 413, code: "LIMIT_EXCEEDED", limit: "maxBodyBytes", value: 2000 } as const;

  it("refuses a body that says it is longer, without reading it", async () => {
    const app = appWith({ maxBodyBytes: 2000 });
    const { body, isRead } = watchedBody(once(tarball));
    await expectRefusal(put(app, body, { "Content-Length": "2001" }), refusal);
    expect(isRead()).toBe(false);
    await expectNothingPublished(app);
  });

  it("refuses one that turns out to be longer, whatever it says", async () => {
    const app = appWith({ maxBodyBytes: 2000 });
    await expectRefusal(put(app, watchedBody(once(tarball)).body), refusal);
    await expectRefusal(put(app, watchedBody(once(tarball)).body, { "Content-Length": "10" }), refusal);
    await expectNothingPublished(app);
  });

  it("takes one that is as long as is allowed", async () => {
    expect((await put(appWith({ maxBodyBytes: tarball.length }), tarball)).status).toBe(201);
  });

  it("holds for what comes in parts as well", async () => {
    const body = JSON.stringify({ size: 2001 });
    await expectRefusal(appWith({ maxBodyBytes: 2000 }).request("/v1/uploads", { method: "POST", body }), refusal);
  });
});

describe("maxBlobBytes", () => {
  it("refuses an archive with a larger file", async () => {
    const app = appWith({ maxBlobBytes: 999 });
    await expectRefusal(put(app, tarball), { status: 413, code: "LIMIT_EXCEEDED", limit: "maxBlobBytes", value: 999 });
    await expectNothingPublished(app);
    expect((await put(appWith({ maxBlobBytes: 1000 }), tarball)).status).toBe(201);
  });
});

describe("maxIdleSeconds", () => {
  const refusal = { status: 408, code: "TIMED_OUT", limit: "maxIdleSeconds", value: 0.05 } as const;

  it.each([0, 700, 3000])("ends a load whose client falls silent after %i bytes", async (count) => {
    const app = appWith({ maxIdleSeconds: 0.05 });
    await expectRefusal(put(app, watchedBody(stallAfter(tarball.subarray(0, count))).body), refusal);
    await expectNothingPublished(app);
    expect((await put(app, tarball)).status).toBe(201); // what the other held is free again
  });

  it("ends a silent part of an upload, and any other body", async () => {
    const app = appWith({ maxIdleSeconds: 0.05 });
    const begun = await app.request("/v1/uploads", { method: "POST", body: JSON.stringify({ size: tarball.length }) });
    const { parts } = (await begun.json()) as { parts: { url: string }[] };
    const stalled = (method: string): RequestInit & { duplex: "half" } => ({
      method,
      body: watchedBody(stallAfter(tarball.subarray(0, 5))).body,
      duplex: "half",
    });
    await expectRefusal(app.request(new Request(parts[0]?.url ?? "", stalled("PUT"))), refusal);
    await expectRefusal(app.request(new Request("http://own.example/v1/blobs/missing", stalled("POST"))), refusal);
  });

  it("does not count the time for which the store takes no more", async () => {
    const slow = Object.assign(new MemoryStore({ partBytes: 400 }), {
      write: async (...args: Parameters<MemoryStore["write"]>) => {
        await new Promise((resolve) => setTimeout(resolve, 100));
        return MemoryStore.prototype.write.apply(slow, args);
      },
    });
    expect((await put(appWith({ maxIdleSeconds: 0.05 }, slow), watchedBody(once(tarball)).body)).status).toBe(201);
  });
});

describe("maxLoadSeconds", () => {
  const refusal = { status: 408, code: "TIMED_OUT", limit: "maxLoadSeconds", value: 0.2 } as const;
  async function* trickle(): AsyncGenerator<Uint8Array> {
    for (const byte of tarball) {
      yield Uint8Array.of(byte);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  it("ends a load whose client sends a byte now and then", async () => {
    const app = appWith({ maxLoadSeconds: 0.2 });
    await expectRefusal(put(app, watchedBody(trickle()).body), refusal);
    await expectNothingPublished(app);
    expect((await put(app, tarball)).status).toBe(201);
  });

  it("ends a part of an upload, and any other body, that comes so", async () => {
    const app = appWith({ maxLoadSeconds: 0.2 });
    const begun = await app.request("/v1/uploads", { method: "POST", body: JSON.stringify({ size: tarball.length }) });
    const { parts } = (await begun.json()) as { parts: { url: string }[] };
    const slow = (method: string): RequestInit & { duplex: "half" } => ({
      method,
      body: watchedBody(trickle()).body,
      duplex: "half",
    });
    await expectRefusal(app.request(new Request(parts[0]?.url ?? "", slow("PUT"))), refusal);
    await expectRefusal(app.request(new Request("http://own.example/v1/blobs/missing", slow("POST"))), refusal);
  });
});

describe("maxLoads", () => {
  const refusal = { status: 429, code: "TOOMANYREQUESTS", limit: "maxLoads", value: 2 } as const;
  beforeEach(() => void vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] }));
  afterEach(() => void vi.useRealTimers());

  /** A body that stops after its first bytes, until it is told to go on. */
  function heldBody(bytes: Uint8Array): { body: ReadableStream<Uint8Array>; finish: () => void } {
    let finish: () => void = () => undefined;
    const finished = new Promise<void>((resolve) => (finish = resolve));
    async function* held(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 20);
      await finished;
      yield bytes.subarray(20);
    }
    return { body: watchedBody(held()).body, finish };
  }

  it("makes one load too many wait, and answers 429 after ten seconds", async () => {
    const app = appWith({ maxLoads: 2 });
    const bodies = [heldBody(tarball), heldBody(tarball)];
    const running = bodies.map(async ({ body }) => put(app, body));
    const begun = await app.request("/v1/uploads", { method: "POST", body: JSON.stringify({ size: tarball.length }) });
    const { id, parts } = (await begun.json()) as { id: string; parts: { url: string }[] };
    expect((await app.request(parts[0]?.url ?? "", { method: "PUT", body: tarball })).status).toBe(201); // is no load
    const ask = async (): Promise<Response> => app.request(`/v1/uploads/${id}/load`, { method: "POST" });
    const tooMany = [put(app, watchedBody(once(tarball)).body), ask()];
    await vi.advanceTimersByTimeAsync(10_000);
    for (const response of await Promise.all(tooMany)) {
      expect(response.headers.get("Retry-After")).toBe("10");
      await expectRefusal(response, refusal);
    }
    const patient = ask();
    await vi.advanceTimersByTimeAsync(9000);
    for (const { finish } of bodies) finish();
    // Both of the running loads may write the blobs, or one of them: whichever asks the store first.
    const statuses = (await Promise.all([...running, patient])).map(({ status }) => status);
    expect(statuses.filter((status) => status !== 200 && status !== 201)).toEqual([]);
  });

  it("counts no load before its first byte", async () => {
    const app = appWith({ maxLoads: 1 });
    const silent = put(app, watchedBody(stallAfter(new Uint8Array(0))).body);
    await vi.advanceTimersByTimeAsync(1000);
    expect((await put(app, tarball)).status).toBe(201);
    await vi.advanceTimersByTimeAsync(300_000);
    expect((await silent).status).toBe(408);
  });

  it("holds for parts of uploads as well, in a line of their own", async () => {
    const app = appWith({ maxLoads: 2 });
    const size = 16 * 1024 * 1024;
    const begun = await app.request("/v1/uploads", { method: "POST", body: JSON.stringify({ size }) });
    const { parts } = (await begun.json()) as { parts: { url: string; size: number }[] };
    const send = async (body: ReadableStream<Uint8Array> | Uint8Array): Promise<Response> =>
      app.request(new Request(parts[0]?.url ?? "", { method: "PUT", body, duplex: "half" }));
    const bytes = new Uint8Array(parts[0]?.size ?? 0);
    const bodies = [heldBody(bytes), heldBody(bytes)];
    const running = bodies.map(async ({ body }) => send(body));
    await vi.advanceTimersByTimeAsync(1000);
    const tooMany = send(bytes);
    expect((await put(app, tarball)).status).toBe(201);
    await vi.advanceTimersByTimeAsync(10_000);
    await expectRefusal(tooMany, refusal);
    for (const { finish } of bodies) finish();
    expect((await Promise.all(running)).map(({ status }) => status)).toEqual([201, 201]);
  });
});

describe("a request that cannot be taken", () => {
  const tokens = [
    { name: "ci", sha256: sha256(Buffer.from("secret")).slice(7), actions: ["load"], repositories: ["team/**"] },
  ] as const;

  it.each([
    ["PUT", "/v1/load/Team/App", 400, "NAME_INVALID"],
    ["PATCH", "/v1/load", 405, "UNSUPPORTED"],
    ["PUT", "/v1/loads", 404, "UNSUPPORTED"],
    ["PUT", "/v1/load/other/app", 403, "DENIED"],
  ])("is refused before its body is read: %s %s", async (method, path, status, code) => {
    const app = createApp({ layout: openLayout(store), access: { tokens, anonymousPull: false } });
    const { body, isRead } = watchedBody(once(tarball));
    const init = { method, body, duplex: "half" } as const;
    const headers = { Authorization: "Bearer secret" };
    const response = await app.request(new Request(`http://own.example${path}`, { ...init, headers }));
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ errors: [{ code }] });
    expect(isRead()).toBe(false);
  });

  it("is refused before its body is read without a token", async () => {
    const app = createApp({ layout: openLayout(store), access: { tokens, anonymousPull: false } });
    const { body, isRead } = watchedBody(once(tarball));
    expect((await put(app, body)).status).toBe(401);
    expect(isRead()).toBe(false);
  });
});

describe("a method that a route does not have", () => {
  it.each([
    ["GET", "/v1/load", "PUT, POST"],
    ["HEAD", "/v1/load", "PUT, POST"],
    ["DELETE", "/v1/load/team/app:1.4", "PUT, POST"],
    ["OPTIONS", "/v1/load", "PUT, POST"],
    ["PUT", "/v1/blobs/missing", "POST"],
    ["GET", "/v1/uploads", "POST"],
    ["PUT", "/v1/uploads/1", "GET, HEAD, DELETE"],
    ["POST", "/v1/uploads/1/parts/1", "PUT"],
    ["PUT", "/v1/uploads/1/load/team/app", "POST"],
    ["POST", "/v2/", "GET, HEAD"],
    ["POST", "/v2/_catalog", "GET, HEAD"],
    ["POST", "/v2/team/app/manifests/1", "GET, HEAD, PUT, DELETE"],
    ["POST", "/v2/team/app/blobs/sha256:0", "GET, HEAD"],
    ["DELETE", "/v2/team/app/tags/list", "GET, HEAD"],
    ["PUT", "/healthz", "GET, HEAD"],
    ["PUT", "/v2/team/app/blobs/uploads/", "POST"],
    ["POST", "/v2/team/app/blobs/uploads/1", "PATCH, PUT, GET, HEAD, DELETE"],
  ])("is answered 405 with those that it has: %s %s", async (method, path, allowed) => {
    const response = await appWith({}).request(path, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get("Allow")).toBe(allowed);
    const text = await response.text();
    if (method === "HEAD") expect(text).toBe("");
    else expect(JSON.parse(text)).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
  });

  it("is 404 where there is no such route at all", async () => {
    expect((await appWith({}).request("/v1/nothing", { method: "PUT" })).status).toBe(404);
    expect((await appWith({}).request("/v2/team/app/nothing", { method: "POST" })).status).toBe(404);
  });
});
