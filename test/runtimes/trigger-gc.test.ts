import { beforeEach, describe, expect, it } from "vitest";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { gcRunKey } from "../../src/layout/keys.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { triggerGc } from "../../src/runtimes/trigger-gc.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { chunksOf } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

/** A layer, a config and a manifest. */
const blobs = 3;

let store: MemoryStore;
let log: string[];
beforeEach(async () => {
  store = new MemoryStore();
  log = [];
  await loadArchive(openLayout(store), chunksOf(await tarOf(makeLayout()), 1000), { name: "team/app:1" });
  await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "1" }] });
});

/** The trigger so many hours later. Returns the number of requests. */
async function trigger(env: Readonly<Record<string, string>>, hours: number, maxRequests?: number): Promise<number> {
  const counted = new CountingStore(store);
  const app = { layout: openLayout(counted, undefined, clockAfter(hours * hour)), config: parseConfig(env) };
  await triggerGc(
    app,
    { maxMs: hour, maxRequests },
    notesIn(() => log),
  );
  return counted.total;
}

describe("triggerGc", () => {
  it("goes on with each trigger until the run is over, and says what became of blobs", async () => {
    while (!log.some((line) => line.startsWith("gc, finished: "))) await trigger({}, 0, 1);
    expect(log[0]).toBe("gc, unfinished: nothing to do");
    expect(log.join("\n").match(/condemned 1 blob \(\d+ bytes\)/g), "one in each slice").toHaveLength(blobs);
  });

  it("costs one request until it is time for the next run", async () => {
    await trigger({}, 0);
    expect(log.splice(0)).toEqual([expect.stringMatching(/^gc, finished: condemned 3 blobs \(\d+ bytes\)$/)]);
    expect(await trigger({}, 23.9)).toBe(1);
    expect(log).toEqual([]);
    await trigger({}, 24.1);
    expect(log).toEqual([expect.stringMatching(/^gc, finished: freed 3 blobs \(\d+ bytes\)$/)]);
  });

  it("keeps to the times of the settings", async () => {
    const env = { STOWAGE_GC_EVERY: "1h", STOWAGE_GC_GRACE: "2h" };
    await trigger(env, 0);
    expect(await trigger(env, 0.9)).toBe(1);
    await trigger(env, 1.1);
    await trigger(env, 2.2);
    expect(log.slice(1)).toEqual([expect.stringMatching(/waiting 3 blobs/), expect.stringMatching(/freed 3 blobs/)]);
  });

  it("drops images by the rules of the settings, and logs each", async () => {
    await loadArchive(openLayout(store), chunksOf(await tarOf(makeLayout()), 1000), { name: "team/app:2" });
    await trigger({ STOWAGE_RETENTION: '[{ "dropAfter": "2h" }]' }, 3);
    expect(log).toEqual([
      "gc, dropped team/app:2: rule 1, changed 3h ago",
      expect.stringMatching(/^gc, finished: dropped 1 image, condemned 3 blobs \(\d+ bytes\)$/),
    ]);
  });

  it.each(["never", "0"])("does nothing with STOWAGE_GC_EVERY=%s", async (every) => {
    expect(await trigger({ STOWAGE_GC_EVERY: every }, 0)).toBe(0);
    expect(log).toEqual([]);
  });

  it("names what it cannot read", async () => {
    await store.put(gcRunKey, Buffer.from("x"));
    await trigger({}, 0);
    expect(log).toEqual([
      expect.stringMatching(/^gc, finished: condemned 3 .*, Cannot read "condemned-run", a new run/),
    ]);
  });
});
