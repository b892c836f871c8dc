/** Push sessions when requests meet each other, and when objects of a session are gone: no lost byte is acknowledged. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { decorate, keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const host = "http://stowage.test";
const bytes = randomBytes(900, 1);
const digest = sha256(bytes);
const other = sha256(randomBytes(5, 5));

let objects: MemoryStore;
let app: Hono;

beforeEach(() => {
  objects = new MemoryStore();
  app = appOn(objects);
});

function appOn(store: ObjectStore): Hono {
  return createApp({ layout: openLayout(store), access: "anyone" });
}

async function send(method: string, path: string, body?: Uint8Array | ReadableStream, to = app): Promise<Response> {
  if (body instanceof ReadableStream) return to.request(`${host}${path}`, { method, body, duplex: "half" });
  const headers = { "Content-Length": String(body?.length ?? 0) };
  return to.request(`${host}${path}`, { method, headers, body: (body as Uint8Array<ArrayBuffer> | undefined) ?? null });
}

/** Begins a session and sends chunks of these lengths. Returns its path. */
async function beginWith(...lengths: readonly number[]): Promise<string> {
  const session = (await send("POST", "/v2/team/app/blobs/uploads/")).headers.get("Location") ?? "";
  let at = 0;
  for (const length of lengths) {
    expect((await send("PATCH", session, bytes.subarray(at, at + length))).status).toBe(202);
    at += length;
  }
  return session;
}

async function outcomeOf(answer: Response): Promise<readonly [status: number, code: string | undefined]> {
  const text = await answer.text();
  const { errors } = (text === "" ? {} : JSON.parse(text)) as { errors?: { code: string }[] };
  return [answer.status, errors?.[0]?.code];
}

async function pulled(): Promise<Buffer> {
  return Buffer.from(await (await send("GET", `/v2/team/app/blobs/${digest}`)).arrayBuffer());
}

/** Something that happens once, at the given moment. */
function once(work: () => Promise<unknown>): () => Promise<void> {
  let isDone = false;
  return async () => {
    if (isDone) return;
    isDone = true;
    await work();
  };
}

const ways = [
  ["in one request", [900]],
  ["in chunks", [300, 300, 300]],
] as const;

describe.each(ways)("a session whose bytes came %s", (_, lengths) => {
  const moments: readonly (readonly [string, keyof ObjectStore, (key: string) => boolean])[] = [
    ["lists its records", "list", (key) => key.startsWith("staging/")],
    ["reads a record", "get", (key) => key.endsWith("at-0")],
    ["looks for the blob", "head", (key) => key.startsWith("blobs/")],
    [
      "reads or copies its bytes",
      lengths.length === 1 ? "copy" : "get",
      (key) => /^staging\/.*-[0-9a-f]{12}$/.test(key),
    ],
  ];

  it.each(moments)(
    "can be ended by two requests at once: one comes while the other %s",
    async (_moment, method, isMoment) => {
      const session = await beginWith(...lengths);
      const first = once(async () => expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201));
      const interrupted = decorate(objects, {
        list: async function* (key, options) {
          for await (const found of objects.list(key, options)) {
            if (method === "list" && isMoment(key)) await first();
            yield found;
          }
        },
        get: async (key, options) => {
          if (method === "get" && isMoment(key)) await first();
          return objects.get(key, options);
        },
        head: async (key, options) => {
          const found = await objects.head(key, options);
          if (method === "head" && isMoment(key)) await first();
          return found;
        },
        copy: async (from, to, options) => {
          if (method === "copy" && isMoment(from)) await first();
          return objects.copy(from, to, options);
        },
      });
      const second = await send("PUT", `${session}?digest=${digest}`, undefined, appOn(interrupted));
      expect(await outcomeOf(second)).toEqual([201, undefined]);
      expect(await pulled()).toEqual(bytes);
      expect(await keysOf(objects, "staging/")).toEqual([]);
    },
  );

  it.each([
    ["its bytes have", (key: string) => !key.includes("at-")],
    ["its first record has", (key: string) => key.endsWith("at-0")],
    ["all have", () => true],
  ])("is over when %s expired", async (_what, isGone) => {
    const session = await beginWith(...lengths);
    for (const key of (await keysOf(objects, "staging/")).filter(isGone)) await objects.delete(key);
    const ended = await send("PUT", `${session}?digest=${digest}`);
    expect(await outcomeOf(ended)).toEqual([404, "BLOB_UPLOAD_UNKNOWN"]);
    expect(await keysOf(objects, "blobs/")).toEqual([]);
  });

  it("is over when its bytes have another digest than its client says", async () => {
    const session = await beginWith(...lengths);
    const wrong = await send("PUT", `${session}?digest=${other}`);
    expect(await outcomeOf(wrong)).toEqual([400, "DIGEST_INVALID"]);
    expect(await keysOf(objects, "staging/")).toEqual([]);
    const again = await send("PUT", `${session}?digest=${digest}`);
    expect(await outcomeOf(again)).toEqual([404, "BLOB_UPLOAD_UNKNOWN"]);
  });
});

describe("a session that ends while a chunk comes", () => {
  const endings: readonly (readonly [string, (session: string) => Promise<number>])[] = [
    ["is deleted", async (session) => (await send("DELETE", session)).status],
    [
      "becomes a blob",
      async (session) => (await send("PUT", `${session}?digest=${sha256(bytes.subarray(0, 300))}`)).status,
    ],
  ];

  it.each(endings)("and %s stays over", async (_, end) => {
    const session = await beginWith(300);
    const chunks = [bytes.subarray(300)];
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      const chunk = chunks.shift();
      if (chunk !== undefined) return controller.enqueue(chunk);
      expect(await end(session)).toBeLessThan(205);
      controller.close();
    };
    const body = new ReadableStream({ pull }, { highWaterMark: 0 });
    await send("PATCH", session, body);
    expect(await outcomeOf(await send("GET", session))).toEqual([404, "BLOB_UPLOAD_UNKNOWN"]);
    expect(await outcomeOf(await send("PATCH", session, bytes))).toEqual([404, "BLOB_UPLOAD_UNKNOWN"]);
    expect(await outcomeOf(await send("PUT", `${session}?digest=${digest}`))).toEqual([404, "BLOB_UPLOAD_UNKNOWN"]);
  });
});

/**
 * The store, whose n-th call fails: before it does its work, or after that, so that only its answer is lost. Tells whether there
 * was such a call.
 */
function failingAt(
  failing: number,
  isLost: boolean,
): { readonly store: ObjectStore; readonly hasFailed: () => boolean } {
  let calls = 0;
  let hasFailed = false;
  const failure = new StowageError("STORE_UNAVAILABLE", "Cannot answer: no answer came");
  const isFailing = (): boolean => {
    const isNow = ++calls === failing;
    hasFailed ||= isNow;
    return isNow;
  };
  const call = async <T>(work: () => Promise<T>): Promise<T> => {
    const isNow = isFailing();
    if (isNow && !isLost) throw failure;
    const answer = await work();
    if (isNow) throw failure;
    return answer;
  };
  const store = decorate(objects, {
    head: async (...args) => call(async () => objects.head(...args)),
    get: async (...args) => call(async () => objects.get(...args)),
    put: async (...args) => call(async () => objects.put(...args)),
    write: async (...args) => call(async () => objects.write(...args)),
    copy: async (...args) => call(async () => objects.copy(...args)),
    delete: async (...args) => call(async () => objects.delete(...args)),
    list: async function* (...args) {
      if (isFailing()) throw failure;
      yield* objects.list(...args);
    },
  });
  return { store, hasFailed: () => hasFailed };
}

describe.each([
  ["answers nothing and does nothing", false],
  ["does its work, and its answer is lost", true],
])("a store of which one call %s", (_what, isLost) => {
  /** Pushes as a client does that tries again: asks what has come, goes on from there, and begins again if all is gone. */
  async function push(to: Hono, lengths: readonly number[]): Promise<void> {
    for (let tries = 0; tries < 3; tries++) {
      const session = (await send("POST", "/v2/team/app/blobs/uploads/", undefined, to)).headers.get("Location") ?? "";
      let at = 0;
      for (let i = 0; i < lengths.length + 2 && at < bytes.length; i++) {
        const end = at + (lengths[i] ?? bytes.length);
        await send("PATCH", session, bytes.subarray(at, end), to);
        let asked = await send("GET", session, undefined, to);
        if (asked.status === 503) asked = await send("GET", session, undefined, to);
        const last = Number(asked.headers.get("Range")?.split("-")[1]);
        at = last === 0 ? 0 : last + 1; // no chunk has one byte
      }
      for (let closings = 0; closings < 2; closings++) {
        const { status } = await send("PUT", `${session}?digest=${digest}`, undefined, to);
        if (status === 201) return;
        expect([404, 503]).toContain(status);
      }
    }
    throw new Error("expected the third try to succeed");
  }

  it.each(ways)("loses no byte that came %s", async (_way, lengths) => {
    for (let failing = 1; ; failing++) {
      objects = new MemoryStore();
      app = appOn(objects);
      await beginWith(10); // now the store has passed the probe
      const { store, hasFailed } = failingAt(failing, isLost);
      await push(appOn(store), lengths);
      expect(await pulled()).toEqual(bytes);
      if (!hasFailed()) break;
    }
  });
});
