/** What a push may take from others: listings, turns, memory and connections to the store. */
import { createHash } from "node:crypto";
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import type { Layout } from "../../src/layout/layout.ts";
import type { Limits } from "../../src/limits.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
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
  readonly body?: Uint8Array;
  readonly as?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

async function send(
  method: string,
  path: string,
  { body, as = "victim", headers, signal }: Sent = {},
): Promise<Response> {
  const length = { "Content-Length": String(body?.length ?? 0) };
  const init = { method, headers: { Authorization: `Bearer ${as}`, ...length, ...headers }, signal: signal ?? null };
  return app.request(`${host}${path}`, { ...init, body: (body as Uint8Array<ArrayBuffer> | undefined) ?? null });
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
  it("lists no folder but that of its own session: others may have very many objects", async () => {
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
    const own = `staging/push/${session.slice(session.lastIndexOf("/") + 1)}`;
    expect([...listed].filter((folder) => folder.startsWith("staging"))).toEqual([own]);
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
