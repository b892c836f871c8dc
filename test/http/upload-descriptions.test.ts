/** An upload of 10,000 parts is described by some 2 MB of JSON: what many short requests for that hold, and who is served. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Report } from "../../src/events.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { sha256 } from "../support/bytes.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const tokens = ["mallory", "victim"].map((name) => ({
  name,
  sha256: sha256(Buffer.from(name)).slice(7),
  actions: ["load"] as const,
  repositories: ["**"],
}));
const size = 78 * 1024 ** 3;
const count = 24;

let app: Hono;
/** Uploads whose parts are being listed, and the most that were so at once. */
let lists: { now: number; most: number };
/** Answers that ended because nobody read them. */
let cutOff: number;
beforeEach(() => {
  const store = new MemoryStore();
  lists = { now: 0, most: 0 };
  const list: ObjectStore["list"] = async function* (prefix, options) {
    const isUpload = /^staging\/[0-9a-f]{32}\./.test(prefix);
    if (isUpload) lists.most = Math.max(lists.most, ++lists.now);
    await new Promise((resolve) => void setTimeout(resolve, 10));
    yield* store.list(prefix, options);
    if (isUpload) lists.now--;
  };
  cutOff = 0;
  const report: Report = (event) => void (cutOff += event.event === "request" && event.code === "TIMED_OUT" ? 1 : 0);
  app = createApp({ layout: openLayout(decorate(store, { list })), access: { tokens, anonymousPull: false }, report });
});

async function ask(name: string, path: string, init: RequestInit = {}): Promise<Response> {
  return app.request(path, { ...init, headers: { Authorization: `Bearer ${name}` } });
}

async function begin(name: string): Promise<{ readonly id: string; readonly parts: readonly unknown[] }> {
  const response = await ask(name, "/v1/uploads", { method: "POST", body: JSON.stringify({ size }) });
  expect(response.status).toBe(201);
  return (await response.json()) as { id: string; parts: unknown[] };
}

describe("many requests for an upload of very many parts", () => {
  it("are answered a few at a time, and another caller's before most of them", async () => {
    const { id } = await begin("mallory");
    let answered = 0;
    const crowd = Array.from({ length: count }, async () => {
      const response = await ask("mallory", `/v1/uploads/${id}`);
      await response.arrayBuffer();
      answered++;
    });
    const { parts } = await begin("victim");
    expect(parts).toHaveLength(9984);
    expect(answered).toBeLessThan(count / 2);
    await Promise.all(crowd);
    expect(lists.most).toBeLessThanOrEqual(10);
  });

  it("do not hold more than the memory for large answers, if nobody reads them", async () => {
    const { id } = await begin("mallory");
    const unread: Response[] = [];
    const crowd = Array.from({ length: count }, async () => unread.push(await ask("mallory", `/v1/uploads/${id}`)));
    await vi.waitUntil(() => unread.length >= 16, { timeout: 20_000 });
    await new Promise((resolve) => void setTimeout(resolve, 300));
    const held = unread.length - cutOff; // after five seconds those that nobody reads give way to others
    expect(held * Number(unread[0]?.headers.get("Content-Length"))).toBeLessThanOrEqual(32 * 1024 * 1024);
    for (const response of unread) await response.body?.cancel();
    await Promise.all(crowd);
    for (const response of unread) if (!response.bodyUsed) await response.body?.cancel();
  });
});
