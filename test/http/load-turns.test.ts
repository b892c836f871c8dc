/** Turns of loads that wait for memory, while another caller waits for a turn. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { ustarHeader } from "../support/ustar-header.ts";

const gibibyte = 2 ** 30;
const turns = 6;

const tokens = ["mallory", "victim"].map((name) => ({
  name,
  sha256: createHash("sha256").update(name).digest("hex"),
  actions: ["load", "pull"] as const,
  repositories: ["**"],
}));

/** Begins with a layer of 4 GiB, and sends some mebibytes a second until the signal fires. */
function endless(signal: AbortSignal): ReadableStream<Uint8Array> {
  const header = ustarHeader(`blobs/sha256/${"a".repeat(64)}`, 4 * gibibyte);
  return new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(header)),
    async pull(controller) {
      await sleep(20);
      if (signal.aborted) controller.error(new Error("enough"));
      else controller.enqueue(new Uint8Array(512 * 1024));
    },
  });
}

describe("loads of one caller that wait for memory", () => {
  it("give their turn to another caller, and the load that gets on goes on", { timeout: 60_000 }, async () => {
    const objects = new MemoryStore();
    let begun = 0;
    const head: ObjectStore["head"] = (...args) => {
      begun++;
      return objects.head(...args);
    };
    const write: ObjectStore["write"] = async (_key, { body }) => {
      for await (const _ of body); // a test needs none of these bytes
      return { outcome: "written", parts: 0 };
    };
    const store = decorate(objects, { head, write, writeBufferBytes: () => 90_000 });
    const layout = openLayout(store, { maxBufferBytes: 100_000, maxLoads: turns });
    const app = createApp({ layout, access: { tokens, anonymousPull: false } });
    const load = async (as: string, name: string, body: BodyOf): Promise<number> => {
      const init = { method: "PUT", headers: { Authorization: `Bearer ${as}` }, body, duplex: "half" } as const;
      return (await app.request(`http://stowage.test/v1/load/team/${name}:1`, init)).status;
    };
    const ending = new AbortController();
    const refused: number[] = [];
    const attack = Array.from({ length: turns }, async (_, i) => {
      const status = await load("mallory", `app${i}`, endless(ending.signal));
      if (!ending.signal.aborted) refused.push(status);
    });
    await vi.waitUntil(() => begun >= turns, { timeout: 30_000 });
    expect(await load("victim", "small", new Uint8Array(await tarOf(makeLayout())))).toBe(201);
    expect(new Set(refused)).toEqual(new Set([429]));
    expect(refused.length, "the load that has the memory goes on").toBeLessThan(turns);
    ending.abort();
    await Promise.all(attack);
  });
});

type BodyOf = Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
