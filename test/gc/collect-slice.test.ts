/** Runs of gc in slices: they end as one whole run does, however short the slices are. */
import { beforeEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { Digest } from "../../src/digest.ts";
import { StowageError } from "../../src/errors.ts";
import { collectGarbage, newProgress } from "../../src/gc/collect-garbage.ts";
import { type SliceOptions, type SliceReport, collectSlice } from "../../src/gc/collect-slice.ts";
import { saveRun } from "../../src/gc/saved-run.ts";
import type { Amount, GarbageReport } from "../../src/gc/tally.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { RescuingStore } from "../../src/layout/rescuing-store.ts";
import { blobKey, blobsPrefix, condemnedPrefix, gcRunKey } from "../../src/layout/keys.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt, decorate, keysOf, loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder } from "../support/run-stowage.ts";
import { clockAfter, hour } from "./clock-after.ts";

const graceMs = 24 * hour;
/** More slices than any test needs. */
const maxSlices = 5000;

async function load(layout: Layout, store: ObjectStore, name: string): Promise<void> {
  await loadBytes(chunksOf(await tarOf(layout), 50_000), store, { name });
}

async function remove(store: ObjectStore, repository: string, digest: Digest): Promise<void> {
  await updateRepository(openLayout(store), { repository, changes: [{ op: "remove", digest }] });
}

async function slice(
  store: ObjectStore,
  options: Partial<SliceOptions> & { readonly clock?: Clock; readonly hours?: number } = {},
): Promise<SliceReport> {
  const { hours = 0, clock = clockAfter(hours * hour), ...rest } = options;
  return collectSlice(openLayout(store, undefined, clock), { graceMs, everyMs: 0, maxMs: hour, ...rest });
}

interface SlicedRun {
  /** The sum of the reports. */
  readonly report: GarbageReport;
  readonly slices: number;
}

const kinds = ["condemned", "freed", "waiting", "kept", "removed", "postponed", "undecided", "abandoned"] as const;

/** Slices to the end of a run. */
async function runInSlices(store: ObjectStore, options: Parameters<typeof slice>[1]): Promise<SlicedRun> {
  const reports: GarbageReport[] = [];
  while (reports.length < maxSlices) {
    const { state, ...report } = await slice(store, options);
    reports.push(report);
    if (state !== "finished") continue;
    const sumOf = (kind: (typeof kinds)[number]): Amount => ({
      blobs: reports.reduce((sum, one) => sum + one[kind].blobs, 0),
      bytes: reports.reduce((sum, one) => sum + one[kind].bytes, 0),
    });
    const problems = reports.flatMap(({ problems: named }) => named);
    const dropped = reports.reduce((sum, one) => sum + one.dropped, 0);
    const amounts = kinds.map((kind) => [kind, sumOf(kind)]);
    const sums = Object.fromEntries(amounts) as Omit<GarbageReport, "problems" | "dropped">;
    return { report: { ...sums, dropped, problems }, slices: reports.length };
  }
  throw new Error(`expected an end before ${maxSlices} slices`);
}

async function copyOf(store: ObjectStore): Promise<MemoryStore> {
  const copy = new MemoryStore();
  for (const key of await keysOf(store)) await copy.put(key, await bytesAt(store, key));
  return copy;
}

const none = { blobs: 0, bytes: 0 };
const first = makeLayout({ layers: [randomBytes(1000), randomBytes(2000, 2)], label: "first" });
const second = makeLayout({ layers: [randomBytes(1000)], label: "second" });

describe("collectSlice, of a store with 300 repositories", () => {
  let store: MemoryStore;

  /** Images, images for platforms, referrers in other repositories than their subjects, before and behind them, and orphans. */
  async function fill(): Promise<MemoryStore> {
    const filled = new MemoryStore();
    const subjects: Layout[] = [];
    for (let i = 0; i < 300; i++) {
      const name = `team/app${String(i).padStart(3, "0")}`;
      const platforms = i % 10 === 0 ? { platforms: ["linux/amd64", "linux/arm64"] } : {};
      const image = makeLayout({ layers: [randomBytes(100, i), randomBytes(50)], label: name, ...platforms });
      await load(image, filled, `${name}:1`);
      if (i % 3 === 1) await remove(filled, name, image.digest);
      if (i % 25 < 2) subjects.push(image);
    }
    for (const [
      i,
      {
        roots: [subject],
      },
    ] of subjects.entries()) {
      if (subject === undefined) throw new Error("expected a root");
      const referrer = makeLayout({ layers: [randomBytes(30, 1000 + i)], label: `about ${i}`, subject });
      const [root] = referrer.roots;
      if (root === undefined) throw new Error("expected a root");
      const about = makeLayout({ layers: [randomBytes(20, 2000 + i)], label: `about about ${i}`, subject: root });
      await load(referrer, filled, i % 2 === 0 ? "a/referrers" : "z/referrers");
      await load(about, filled, i % 4 < 2 ? "a/others" : "z/others");
    }
    return filled;
  }

  beforeEach(async () => {
    store ??= await fill();
  });

  it.each([10, 100])("ends as one run does, in slices of %d requests", { timeout: 60_000 }, async (maxRequests) => {
    const [whole, sliced] = [await copyOf(store), await copyOf(store)];
    const reports: GarbageReport[] = [];
    for (const hours of [0, 25, 50, 75, 100]) {
      const expected = await collectGarbage(openLayout(whole, undefined, clockAfter(hours * hour)), { graceMs });
      const { report, slices } = await runInSlices(sliced, { maxRequests, hours });
      // A later slice condemns a referrer that an earlier slice has removed from its index. A whole run leaves that to the next run.
      if (hours === 0) expect(report).toEqual(expected);
      if (hours === 0) expect(slices).toBeGreaterThan(500 / maxRequests);
      reports.push(report);
    }
    expect((await keysOf(sliced)).filter((key) => key !== gcRunKey)).toEqual(await keysOf(whole));
    expect(reports[1]?.freed.blobs, "what was removed").toBeGreaterThan(200);
    expect(reports[1]?.removed.blobs, "the referrers of that").toBeGreaterThan(9);
    expect(reports[4], "nothing is left to do").toMatchObject({ condemned: none, freed: none, waiting: none });
    expect((await verifyStore(openLayout(sliced))).problems).toEqual([]);
  });
});

function describeSlices(open: () => Promise<ObjectStore>): void {
  it("condemns, frees, and leaves nothing behind but the time of the run", async () => {
    const store = await open();
    await load(first, store, "team/app:1");
    await load(second, store, "team/app:2");
    await remove(store, "team/app", first.digest);
    const { condemned } = (await runInSlices(store, { maxRequests: 1 })).report;
    expect(condemned.blobs, "a layer, the config and the manifest").toBe(3);
    const { report, slices } = await runInSlices(store, { maxRequests: 1, hours: 25 });
    expect(report).toMatchObject({ freed: condemned, problems: [] });
    expect(slices).toBeGreaterThan(2);
    expect(await keysOf(store, blobsPrefix)).toEqual([...second.blobs.keys()].map(blobKey).toSorted());
    expect(await keysOf(store, "condemned")).toEqual([gcRunKey]);
    const saved = (await bytesAt(store, gcRunKey)).toString();
    expect(saved).toMatch(/^sha256:[0-9a-f]{64}\n\{"format":2,"store":"[^"]+","began":\d+\}\n$/);
    expect((await verifyStore(openLayout(store))).problems).toEqual([]);
  });
}

describe("collectSlice, in memory", () => describeSlices(async () => new MemoryStore()));

describe("collectSlice, in a directory", () => describeSlices(async () => new DirectoryStore(await newFolder())));

await describeS3Servers("collectSlice", (server) => describeSlices(async () => makeS3Store(server)));

describe("collectSlice", () => {
  let store: MemoryStore;
  beforeEach(async () => {
    store = new MemoryStore();
    await load(first, store, "team/app:1");
    await load(second, store, "team/app:2");
    await remove(store, "team/app", first.digest);
  });

  it("goes on inside one image with very many parts, and in one repository with very many images", async () => {
    const many = new MemoryStore();
    const platforms = Array.from({ length: 150 }, (_, i) => `linux/arm64/v${i}`);
    await load(makeLayout({ layers: [randomBytes(10)], platforms }), many, "team/app:multi");
    for (let i = 0; i < 50; i++)
      await load(makeLayout({ layers: [randomBytes(10)], label: `${i}` }), many, `team/app:${i}`);
    let most = 0;
    for (let slices = 1, isOver = false; !isOver; slices++) {
      const counted = new CountingStore(many);
      const { state, ...report } = await slice(counted, { maxRequests: 10 });
      most = Math.max(most, counted.total);
      isOver = state === "finished";
      expect(report).toMatchObject({ condemned: none, problems: [] });
      if (isOver) expect(slices).toBeGreaterThan(10);
    }
    // The slice's own requests: its state, the lists, the index. And 16 manifests are read at a time.
    expect(most).toBeLessThan(10 + 16 + 10);
  });

  it("ends when its time is over, and comes to an end in spite of that", async () => {
    let now = Date.now();
    const clock = { ...systemClock, now: () => (now += 1000) };
    const { slices, report } = await runInSlices(store, { maxMs: 1, clock });
    expect(slices).toBeGreaterThan(3);
    expect(report.condemned.blobs).toBe(3);
  });

  it("begins no run before its time, and needs one request to see that", async () => {
    await runInSlices(store, {});
    const counted = new CountingStore(store);
    expect(await slice(counted, { everyMs: 24 * hour, hours: 23.9 })).toMatchObject({ state: "idle", problems: [] });
    expect(counted.requests).toEqual({ head: 0, get: 1, put: 0, part: 0, copy: 0, list: 0, delete: 0 });
    expect(await slice(store, { everyMs: 24 * hour, hours: 24.1 })).toMatchObject({
      state: "finished",
      freed: { blobs: 3 },
    });
    expect((await slice(store, { everyMs: 24 * hour, hours: 30 })).state, "since the last run began").toBe("idle");
  });

  it("counts the time since the run began, not since it ended", async () => {
    await slice(store, { maxRequests: 1, everyMs: 24 * hour });
    expect((await slice(store, { everyMs: 24 * hour, hours: 20 })).state).toBe("finished");
    expect((await slice(store, { everyMs: 24 * hour, hours: 24.1 })).state).toBe("finished");
  });

  it("writes nothing into a place that has no store yet", async () => {
    const empty = new MemoryStore();
    expect((await slice(empty)).state).toBe("idle");
    expect(await keysOf(empty)).toEqual([]);
  });

  it("measures the age of a mark at the beginning of the run, however long that is ago", async () => {
    await collectGarbage(openLayout(store), { graceMs: hour });
    await slice(store, { graceMs: hour, hours: 0.9, maxRequests: 1 });
    const { report } = await runInSlices(store, { graceMs: hour, hours: 50 });
    expect(report).toMatchObject({ freed: none, waiting: { blobs: 3 } });
  });

  it("does not delete what a load rescues and publishes between two slices", async () => {
    await collectGarbage(openLayout(store), { graceMs });
    const found = await runUntil(store, { hours: 25, maxRequests: 1 }, (saved) =>
      saved.includes('"isSearchDone":true'),
    );
    expect(found, "the search is over").toBe(true);
    await load(first, store, "team/app:again");
    await runInSlices(store, { hours: 26, maxRequests: 1 });
    expect((await verifyStore(openLayout(store))).problems).toEqual([]);
  });

  it("does not delete what two slices at the same time have both begun to judge", async () => {
    await collectGarbage(openLayout(store), { graceMs });
    for (let i = 0; i < 50; i++) {
      await Promise.all([
        slice(store, { hours: 25, maxRequests: 2, everyMs: 24 * hour }),
        slice(store, { hours: 25, maxRequests: 3, everyMs: 24 * hour }),
      ]);
    }
    expect(await keysOf(store, blobsPrefix)).toEqual([...second.blobs.keys()].map(blobKey).toSorted());
    expect((await verifyStore(openLayout(store))).problems).toEqual([]);
  });

  it.each<[what: string, change: (saved: Buffer) => Buffer, problem: RegExp]>([
    ["is cut short", (saved) => saved.subarray(0, -1), /its first line is not the digest of the rest/],
    ["has one bit turned over", (saved) => turnedOver(saved), /its first line is not the digest of the rest/],
    ["is empty", () => Buffer.alloc(0), /its first line is not the digest of the rest/],
    ["is something else", () => Buffer.from("hello\n"), /its first line is not the digest of the rest/],
    ["has another format", () => stateOf({ format: 1, began: 0 }), /found format 1, expected 2/],
    [
      "was copied from another store",
      () => stateOf({ format: 2, store: "s3://other", began: 0 }),
      /found the state of "s3:\/\/other", expected that of "memory:"/,
    ],
  ])("begins anew if the state %s", async (_, change, problem) => {
    await slice(store, { maxRequests: 1 });
    await store.put(gcRunKey, change(await bytesAt(store, gcRunKey)));
    const report = await slice(store);
    expect(report).toMatchObject({ state: "finished", condemned: { blobs: 3 } });
    expect(report.problems).toEqual([expect.stringMatching(/^Cannot read "condemned-run", a new run begins: /)]);
    expect(report.problems[0]).toMatch(problem);
    expect(await slice(store)).toMatchObject({ state: "finished", problems: [] });
  });

  it.each([
    ["more than a week old", 7 * 24 + 1],
    ["of a time that has not come yet", -1],
  ])("begins anew if the run is %s", async (_, hours) => {
    await slice(store, { maxRequests: 1, hours: 500 });
    const report = await slice(store, { hours: 500 + hours });
    expect(report).toMatchObject({ state: "finished", condemned: { blobs: 3 } });
    expect(report.problems).toEqual([
      expect.stringMatching(/^Cannot go on with the run of 20.*Z, a new run begins: .* 7 days$/),
    ]);
  });

  it("ends the run at a manifest that is lost, and names it again a day later", async () => {
    await store.delete(blobKey(second.digest));
    const before = await keysOf(store, blobsPrefix);
    await expect(slice(store)).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    expect((await slice(store, { everyMs: 24 * hour, hours: 1 })).state).toBe("idle");
    await expect(slice(store, { everyMs: 24 * hour, hours: 25 })).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    expect(await keysOf(store, blobsPrefix)).toEqual(before);
  });

  it("leaves an index that cannot be read to a whole run", async () => {
    await store.put("repositories/team/other/_layout/index.json", Buffer.from("{"));
    await expect(slice(store)).rejects.toThrow(/team\/other\/.*or run `stowage gc` without a limit of its time/);
    expect(await keysOf(store, condemnedPrefix)).toEqual([]);
    expect((await collectGarbage(openLayout(store), { graceMs })).problems).toHaveLength(1);
  });

  it("goes on where the slice before began, if the store fails", async () => {
    await slice(store, { maxRequests: 1 });
    const saved = await bytesAt(store, gcRunKey);
    const failing = decorate(store, {
      list: () => {
        throw new StowageError("STORE_UNAVAILABLE", "no answer");
      },
    });
    await expect(slice(failing)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await bytesAt(store, gcRunKey)).toEqual(saved);
    expect(await slice(store)).toMatchObject({ state: "finished", condemned: { blobs: 3 } });
  });

  it("says what to do if a run is too large for slices", async () => {
    const progress = newProgress(Date.now());
    const { digest } = second;
    for (let i = 0; i < 90_000; i++) {
      const entry = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: i };
      progress.search.waiting.push({ repository: "team/app", entry, subject: digest });
    }
    await expect(saveRun(store, { began: 0, progress }, undefined)).rejects.toThrow(
      /^Cannot collect garbage in slices, run `stowage gc` without a limit of its time: .* at most 16777216 are allowed$/,
    );
  });

  it("refuses a grace time of less than an hour", async () => {
    await expect(slice(store, { graceMs: hour - 1 })).rejects.toMatchObject({ code: "INPUT_INVALID" });
  });

  it("is no mark to a load, and nothing to a whole run", async () => {
    await slice(store, { maxRequests: 1 });
    expect(await new RescuingStore(store, systemClock).hasMarks()).toBe(false);
    expect(await collectGarbage(openLayout(store), { graceMs })).toMatchObject({
      condemned: { blobs: 3 },
      problems: [],
    });
    expect(await slice(store)).toMatchObject({ state: "finished", condemned: none, problems: [] });
  });
});

/** Slices until the state says so. Returns false if the run is finished before. */
async function runUntil(
  store: ObjectStore,
  options: Parameters<typeof slice>[1],
  isReached: (saved: string) => boolean,
): Promise<boolean> {
  for (;;) {
    const { state } = await slice(store, options);
    if (state === "finished") return false;
    if (isReached((await bytesAt(store, gcRunKey)).toString("latin1"))) return true;
  }
}

function turnedOver(saved: Buffer): Buffer {
  const bad = Buffer.from(saved);
  bad[bad.length - 1] = (bad.at(-1) ?? 0) ^ 1;
  return bad;
}

/** A state of another version. */
function stateOf(line: object): Buffer {
  const content = Buffer.from(`${JSON.stringify(line)}\n`);
  return Buffer.concat([Buffer.from(`${sha256(content)}\n`), content]);
}
