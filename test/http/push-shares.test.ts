/** What a push may take from others: listings, turns, memory and connections to the store. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Hono } from "hono";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import type { Layout } from "../../src/layout/layout.ts";
import type { Limits } from "../../src/limits.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, types } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const host = "http://stowage.test";
const uploads = "/v2/team/app/blobs/uploads/";
const bytes = randomBytes(900, 1);
const digest = sha256(bytes);
const tokens = ["mallory", "victim"].map((name) => ({
  name,
  sha256: createHash("sha256").update(name).digest("hex"),
  actions: ["load", "pull"] as const,
  repositories: ["**"],
}));

let objects: MemoryStore;
let layout: Layout;
let app: Hono;

beforeEach(() => {
  objects = new MemoryStore();
  serve(objects);
});

function serve(store: ObjectStore, limits?: Partial<Limits>): void {
  layout = openLayout(store, limits);
  app = createApp({ layout, access: { tokens, anonymousPull: false } });
}

interface Sent {
  readonly body?: Uint8Array | ReadableStream;
  readonly as?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

async function send(
  method: string,
  path: string,
  { body, as = "victim", headers, signal }: Sent = {},
): Promise<Response> {
  const length = body instanceof ReadableStream ? {} : { "Content-Length": String(body?.length ?? 0) };
  const init = { method, headers: { Authorization: `Bearer ${as}`, ...length, ...headers }, signal: signal ?? null };
  const sent = (body as Uint8Array<ArrayBuffer> | ReadableStream | undefined) ?? null;
  return app.request(`${host}${path}`, { ...init, body: sent, duplex: "half" });
}

/** Begins a session and sends `bytes` in this number of chunks. Returns its path. */
async function beginWith(chunks: number, as = "victim"): Promise<string> {
  const session = (await send("POST", uploads, { as })).headers.get("Location") ?? "";
  const size = Math.ceil(bytes.length / chunks);
  for (let i = 0; i < chunks; i++) {
    const body = bytes.subarray(i * size, (i + 1) * size);
    expect((await send("PATCH", session, { as, body })).status).toBe(202);
  }
  return session;
}

describe("a push", () => {
  it("lists no folder but those of its caller and of its own session: others may have very many objects", async () => {
    const listed = new Set<string>();
    serve(
      decorate(objects, {
        list: (prefix, options) => {
          listed.add(prefix.slice(0, prefix.lastIndexOf("/")));
          return objects.list(prefix, options);
        },
      }),
    );
    const session = await beginWith(2);
    await send("GET", session);
    await send("PUT", `${session}?digest=${digest}`);
    await send("DELETE", session);
    const id = session.slice(session.lastIndexOf("/") + 1);
    const callers = `staging/push/${id.slice(0, id.indexOf("-"))}`;
    expect([...listed].filter((folder) => folder.startsWith("staging"))).toEqual([callers, `${callers}/${id}`]);
  });

  it("is refused while its caller has a thousand that are not finished", async () => {
    const [open, other] = [await beginWith(1), await beginWith(1, "mallory")];
    const id = open.slice(open.lastIndexOf("/") + 1);
    const owner = `staging/push/${id.slice(0, id.indexOf("-"))}/`;
    const extra = Array.from({ length: 999 }, (_, i) => `${owner}unfinished-${i}/at-0`);
    for (const key of extra) await objects.put(key, bytes);
    const session = (await send("POST", uploads)).headers.get("Location") ?? "";
    const refused = await send("PATCH", session, { body: bytes });
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({
      errors: [{ code: "TOOMANYREQUESTS", detail: { limit: "maxOpenSessions", expected: 1000 } }],
    });
    expect((await send("PATCH", other, { as: "mallory", body: bytes })).status, "another caller's").toBe(202);
    expect((await send("PATCH", open, { body: bytes })).status, "an upload that has bytes goes on").toBe(202);
    expect((await send("DELETE", open)).status).toBe(204);
    expect((await send("PATCH", session, { body: bytes })).status).toBe(202);
  });

  it("reads one object of its session at a time when it ends, so that others reach the store", async () => {
    const session = await beginWith(30);
    let [now, most] = [0, 0];
    const get: ObjectStore["get"] = async (key, options) => {
      if (key.startsWith("staging/")) most = Math.max(most, ++now);
      await new Promise((resolve) => void setImmediate(resolve));
      if (key.startsWith("staging/")) now--;
      return objects.get(key, options);
    };
    serve(decorate(objects, { get }));
    expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201);
    expect(most).toBe(1);
  });
});

describe("the end of a session, while another request has all memory", () => {
  const { signal } = new AbortController();
  const all = 1000;

  it("needs none if the store copies the bytes", async () => {
    serve(objects, { maxBufferBytes: all });
    const session = await beginWith(1);
    const release = await layout.budget.take(all, { caller: "victim", signal });
    const waiting = layout.budget.take(1, { caller: "victim", signal });
    expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201);
    release();
    await waiting;
  });

  it("opens no chunk before its turn: others need the connection to the store", async () => {
    const opened: string[] = [];
    const get: ObjectStore["get"] = async (key, options) => {
      if (key.startsWith("staging/") && !key.includes("/at-")) opened.push(key);
      return objects.get(key, options);
    };
    serve(decorate(objects, { get }), { maxBufferBytes: all });
    const session = await beginWith(3);
    const release = await layout.budget.take(all, { caller: "mallory", signal });
    const ended = send("PUT", `${session}?digest=${digest}`);
    await vi.waitUntil(() => layout.budget.isCrowded);
    expect(opened).toEqual([]);
    release();
    expect((await ended).status).toBe(201);
    expect(opened).toHaveLength(3);
  });
});

describe("many requests of one caller", () => {
  /** A body of which one byte comes. It breaks off with the signal. */
  const stalled = (signal: AbortSignal): ReadableStream =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(1));
        signal.addEventListener("abort", () => controller.error(signal.reason));
      },
    });

  it("list few sessions at a time", async () => {
    const session = await beginWith(2);
    let [now, most] = [0, 0];
    const list: ObjectStore["list"] = async function* (...args) {
      most = Math.max(most, ++now);
      await new Promise((resolve) => void setImmediate(resolve));
      yield* objects.list(...args);
      now--;
    };
    serve(decorate(objects, { list }), { maxLoads: 2 });
    const answers = Array.from({ length: 100 }, async () => send("GET", session));
    expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([204]));
    const endings = Array.from({ length: 100 }, async () => send("DELETE", session));
    expect(new Set((await Promise.all(endings)).map(({ status }) => status))).toEqual(new Set([204]));
    expect(most).toBe(4);
  });

  it("wait for their turn, as the clients of 64 machines that push one image", async () => {
    const push = async (): Promise<number> => {
      const session = (await send("POST", uploads)).headers.get("Location") ?? "";
      await send("PATCH", session, { body: bytes });
      return (await send("PUT", `${session}?digest=${digest}`)).status;
    };
    const statuses = await Promise.all(Array.from({ length: 64 * 6 }, push));
    expect(new Set(statuses)).toEqual(new Set([201]));
  });

  it("wait no longer than their clients", async () => {
    let held = 0;
    const holdBoth = new Promise<void>((resolve) => {
      const list: ObjectStore["list"] = (...args) => {
        if (++held === 2) resolve();
        return objects.list(...args);
      };
      serve(decorate(objects, { list }), { maxLoads: 1 });
    });
    const [own, ...sessions] = await Promise.all([beginWith(0), beginWith(0), beginWith(0)]);
    const ending = new AbortController();
    const holds = sessions.map(async (path) => send("PATCH", path, { body: stalled(ending.signal) }));
    await holdBoth;
    const leaving = new AbortController();
    const left = send("PATCH", own, { body: bytes, signal: leaving.signal });
    setImmediate(() => leaving.abort());
    expect((await left).status).toBe(500); // nobody reads it
    ending.abort();
    await Promise.all(holds);
  });
});

describe("chunks of one caller that wait for memory", () => {
  /** Some mebibytes a second, until the signal fires. */
  const endless = (signal: AbortSignal): ReadableStream =>
    new ReadableStream({
      async pull(controller) {
        await sleep(20);
        if (signal.aborted) controller.error(new Error("enough"));
        else controller.enqueue(new Uint8Array(512 * 1024));
      },
    });

  it("give their turn to another caller, and the chunk that comes fast goes on", { timeout: 30_000 }, async () => {
    const turns = 8;
    let begun = 0;
    const list: ObjectStore["list"] = (...args) => {
      begun++;
      return objects.list(...args);
    };
    const write: ObjectStore["write"] = async (_key, { body }) => {
      for await (const _ of body); // a test needs none of these bytes
      return { outcome: "written", parts: 0 };
    };
    const store = decorate(objects, { list, write, writeBufferBytes: () => 90_000 });
    serve(store, { maxBufferBytes: 100_000, maxLoads: turns / 2 });
    const ending = new AbortController();
    let isFast = true;
    const answers: number[] = [];
    const chunks = Array.from({ length: turns }, async () => {
      const session = await beginWith(0, "mallory");
      const { status } = await send("PATCH", session, { as: "mallory", body: endless(ending.signal) });
      if (isFast) answers.push(status);
    });
    await vi.waitUntil(() => begun === turns);
    expect((await send("POST", `${uploads}?digest=${digest}`, { body: bytes })).status).toBe(201);
    await vi.waitUntil(() => answers.length > 0);
    expect(answers).toEqual([429]);
    isFast = false;
    ending.abort();
    await Promise.all(chunks);
  });
});

describe("manifests of one caller, while the store is asked for what they name", () => {
  const blob = randomBytes(90_000);

  /** A manifest with this number of characters and more. Nobody has its blobs. */
  function manifestOf(length: number, i: number): Uint8Array {
    const { blobs, digest: root } = makeLayout({
      label: `${i}`,
      manifest: { annotations: { long: "v".repeat(length) } },
    });
    return blobs.get(root) ?? new Uint8Array();
  }

  async function put(body: Uint8Array): Promise<number> {
    const headers = { "Content-Type": types.manifest };
    return (await send("PUT", "/v2/mallory/app/manifests/1", { as: "mallory", body, headers })).status;
  }

  /** The store answers questions about the blobs of manifests when `letGo` is called. */
  function holdAnswers(limits: Partial<Limits>): { readonly waiting: () => number; readonly letGo: () => void } {
    let waiting = 0;
    let letGo: () => void = () => undefined;
    const free = new Promise<void>((resolve) => (letGo = resolve));
    const head: ObjectStore["head"] = async (key, options) => {
      if (key !== blobKey(sha256(blob))) {
        waiting++;
        await free;
      }
      return objects.head(key, options);
    };
    serve(decorate(objects, { head }), limits);
    return { waiting: () => waiting, letGo: () => letGo() };
  }

  it("hold no memory for which another caller's blob waits", async () => {
    const { waiting, letGo } = holdAnswers({ maxBufferBytes: 100_000, maxManifestBytes: 50_000 });
    const manifests = Promise.all([put(manifestOf(40_000, 1)), put(manifestOf(40_000, 2))]);
    await vi.waitUntil(() => waiting() > 0);
    expect((await send("POST", `${uploads}?digest=${sha256(blob)}`, { body: blob })).status).toBe(201);
    letGo();
    expect(await manifests).toEqual([400, 400]);
  });

  it("are few at a time", async () => {
    const { waiting, letGo } = holdAnswers({ maxLoads: 1 });
    const manifests = Promise.all(Array.from({ length: 10 }, async (_, i) => put(manifestOf(10, i))));
    await vi.waitUntil(() => waiting() >= 4);
    await sleep(50);
    expect(waiting()).toBe(4); // two manifests with two blobs each
    letGo();
    expect(new Set(await manifests)).toEqual(new Set([400]));
  });
});
