import { describe, expect, it } from "vitest";
import { type GarbageOptions, collectGarbage } from "../../src/gc/collect-garbage.ts";
import { collectSlice } from "../../src/gc/collect-slice.ts";
import type { Verdict } from "../../src/gc/judge-entries.ts";
import type { GarbageReport } from "../../src/gc/tally.ts";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey, indexKey } from "../../src/layout/keys.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { LoadOptions } from "../../src/load/running-load.ts";
import { readEntries } from "../../src/layout/read-repository.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { referrersTag, tagOf } from "../../src/oci/index-entry.ts";
import { parseRetention } from "../../src/settings/parse-retention.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, types } from "../support/layout.ts";
import { bytesAt, decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder } from "../support/run-stowage.ts";
import { clockAfter, hour } from "./clock-after.ts";

const day = 24 * hour;

/** An image of its own for each label. */
function image(label: string, options: Parameters<typeof makeLayout>[0] = {}): Layout {
  return makeLayout({ layers: [randomBytes(100)], label, ...options });
}

interface LoadAt extends LoadOptions {
  /** Days from now. */
  readonly days?: number;
}

async function load(
  layout: Layout,
  store: ObjectStore,
  name: string,
  { days = 0, ...options }: LoadAt = {},
): Promise<void> {
  const opened = openLayout(store, undefined, clockAfter(days * day));
  await loadArchive(opened, chunksOf(await tarOf(layout), 5000), { name, ...options });
}

interface Run {
  readonly report: GarbageReport;
  readonly verdicts: readonly Verdict[];
  /** `dropped team/app:1`, in the order of the verdicts. */
  readonly decisions: readonly string[];
}

interface GcAt extends Partial<GarbageOptions> {
  /** Days from now. */
  readonly days?: number;
}

async function gc(store: ObjectStore, rules: readonly object[], { days = 0, ...options }: GcAt = {}): Promise<Run> {
  const { entries = [], problems } = parseRetention(JSON.stringify(rules));
  expect(problems).toEqual([]);
  const verdicts: Verdict[] = [];
  const layout = openLayout(store, undefined, clockAfter(days * day));
  const onVerdict = (verdict: Verdict): void => void verdicts.push(verdict);
  const report = await collectGarbage(layout, { retention: entries, onVerdict, ...options });
  const decisions = verdicts.map(({ decision, repository, reference }) => `${decision} ${repository}:${reference}`);
  return { report, verdicts, decisions };
}

async function entriesOf(store: ObjectStore, repository: string): Promise<readonly Descriptor[]> {
  return readEntries(openLayout(store), repository, { signal: new AbortController().signal });
}

async function namesIn(store: ObjectStore, repository: string): Promise<string[]> {
  return (await entriesOf(store, repository)).map((entry) => tagOf(entry) ?? entry.digest).toSorted();
}

async function expectWhole(store: ObjectStore): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}

function describeRetention(open: () => Promise<ObjectStore>): void {
  it("keeps the latest of a repository and what a rule before keeps, drops the rest, and frees its bytes", async () => {
    const store = await open();
    const images = Array.from({ length: 6 }, (_, i) => image(`${i}`));
    for (const [i, one] of images.entries()) await load(one, store, `ci/app:${i === 0 ? "v0" : i}`, { days: i });
    await load(image("other"), store, "team/app:1", { days: 0 });
    const rules = [
      { tags: ["v*"], keep: "always" },
      { repositories: ["ci/**"], keepLatest: 2 },
    ];

    const planned = await gc(store, rules, { days: 6, isDryRun: true });
    expect(planned.decisions.toSorted()).toEqual([
      "dropped ci/app:1",
      "dropped ci/app:2",
      "dropped ci/app:3",
      "kept ci/app:4",
      "kept ci/app:5",
      "kept ci/app:v0",
      "kept team/app:1",
    ]);
    expect(planned.verdicts.find(({ reference }) => reference === "1")).toMatchObject({
      rule: 2,
      reason: "not among the latest 2, changed 5d ago",
    });
    expect(planned.verdicts.find(({ repository }) => repository === "team/app")).not.toHaveProperty("rule");
    expect(await namesIn(store, "ci/app")).toHaveLength(6);

    const run = await gc(store, rules, { days: 6 });
    expect(run.decisions).toEqual(planned.decisions.filter((decision) => decision.startsWith("dropped")));
    expect(run.report).toMatchObject({ dropped: 3, condemned: { blobs: 6 } });
    expect(planned.report).toMatchObject({ dropped: 3, condemned: run.report.condemned });
    expect(await namesIn(store, "ci/app")).toEqual(["4", "5", "v0"]);
    expect((await gc(store, rules, { days: 8 })).report).toMatchObject({ dropped: 0, freed: { blobs: 6 } });
    expect(await store.head(blobKey(images[1]?.digest ?? "sha256:"))).toBeUndefined();
    await expectWhole(store);
  });

  it("drops an image at its end, also if a rule would keep it, and not before", async () => {
    const store = await open();
    await load(image("1"), store, "team/app:1", { expiresInMs: 3 * day });
    await load(image("2"), store, "team/app:2");
    const rules = [{ keep: "always" }];
    expect((await gc(store, rules, { days: 2.9 })).report.dropped).toBe(0);
    const { verdicts } = await gc(store, rules, { days: 3.1 });
    expect(verdicts).toMatchObject([
      { reference: "1", decision: "dropped", reason: expect.stringMatching(/^its end was 2/) },
    ]);
    expect(await namesIn(store, "team/app")).toEqual(["2"]);
  });
}

describe("retention, in memory", () => describeRetention(async () => new MemoryStore()));
describe("retention, in a directory", () => describeRetention(async () => new DirectoryStore(await newFolder())));
await describeS3Servers("retention", (server) => describeRetention(async () => makeS3Store(server)));

describe("the rules of retention", () => {
  it("drop what was changed longer ago than a time, tags and images without a tag apart", async () => {
    const store = new MemoryStore();
    const [tagged, untagged] = [image("tagged"), image("untagged")];
    await load(tagged, store, "app:1");
    await load(untagged, store, `app@${untagged.digest}`);
    const rules = [{ dropAfter: "30d" }, { untagged: true, dropAfter: "7d" }];
    expect((await gc(store, rules, { days: 6 })).report.dropped).toBe(0);
    expect((await gc(store, rules, { days: 8 })).decisions).toEqual([`dropped app:${untagged.digest}`]);
    expect((await gc(store, rules, { days: 29 })).report.dropped).toBe(0);
    expect((await gc(store, rules, { days: 31 })).decisions).toEqual(["dropped app:1"]);
  });

  it("drop only what is beyond the latest and old, if a rule says both", async () => {
    const store = new MemoryStore();
    for (const [i, days] of [0, 10, 20].entries()) await load(image(`${i}`), store, `app:${i}`, { days });
    const rules = [{ keepLatest: 1, dropAfter: "15d" }];
    expect((await gc(store, rules, { days: 21 })).decisions).toEqual(["dropped app:0"]);
    expect(await namesIn(store, "app")).toEqual(["1", "2"]);
  });

  it("count a moved tag as new, and not a load that changes nothing", async () => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:moved");
    await load(image("2"), store, "app:same");
    await load(image("3"), store, "app:moved", { days: 20 });
    await load(image("2"), store, "app:same", { days: 20 });
    expect((await gc(store, [{ dropAfter: "15d" }], { days: 21 })).decisions).toEqual(["dropped app:same"]);
  });

  it("keep what has no age and no end that can be read, because another tool has written it", async () => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:1");
    const json = JSON.parse((await bytesAt(store, indexKey("app"))).toString()) as { manifests: Descriptor[] };
    const annotations = { "org.opencontainers.image.ref.name": "1", "dev.stowage.expires": "5" };
    const manifests = json.manifests.map((entry) => ({ ...entry, annotations }));
    await store.put(indexKey("app"), new TextEncoder().encode(JSON.stringify({ ...json, manifests })));
    const { verdicts } = await gc(store, [{ dropAfter: "1h" }], { days: 400, isDryRun: true });
    expect(verdicts).toMatchObject([{ decision: "kept", rule: 1, reason: "its age is not known" }]);
  });

  it("keep the parts of an index that is kept, and drop them with the index", async () => {
    const store = new MemoryStore();
    const whole = image("whole", { platforms: ["linux/amd64", "linux/arm64"] });
    await load(whole, store, "app:1");
    await listPart(store, whole);
    const rules = [
      { untagged: true, dropAfter: "1h" },
      { tags: ["gone"], dropAfter: "1h" },
    ];
    const kept = await gc(store, rules, { days: 2, isDryRun: true });
    expect(kept.verdicts).toContainEqual(
      expect.objectContaining({
        reference: whole.manifests[0],
        decision: "kept",
        reason: "an image that is kept needs it",
      }),
    );
    expect((await gc(store, rules, { days: 2 })).report).toMatchObject({ dropped: 0, condemned: { blobs: 0 } });
    const dropped = await gc(store, [{ dropAfter: "1h" }, ...rules], { days: 2 });
    expect(dropped.decisions.toSorted()).toEqual(["dropped app:1", `dropped app:${whole.manifests[0]}`]);
    expect(dropped.report.condemned.blobs).toBe(whole.blobs.size);
  });

  it("drop signatures with their subject, under tags and by digest, and keep those of what stays", async () => {
    const store = new MemoryStore();
    for (const [i, label] of ["old", "new"].entries()) {
      const subject = image(label);
      await load(subject, store, `app:${label}`, { days: i });
      await load(image(`${label} signature`), store, `app:${referrersTag(subject.digest)}.sig`, { days: 0 });
      const [root] = subject.roots;
      const referrer = makeLayout({ label: `${label} referrer`, ...(root && { subject: root }) });
      await load(referrer, store, `app@${referrer.digest}`, { days: 0 });
    }
    const run = await gc(store, [{ keepLatest: 1 }, { untagged: true, dropAfter: "1h" }], { days: 2 });
    const [old, young] = [image("old").digest, image("new").digest];
    expect(run.decisions.toSorted()).toEqual(["dropped app:old", `dropped app:${referrersTag(old)}.sig`].toSorted());
    expect(await namesIn(store, "app")).toEqual(expect.arrayContaining(["new", `${referrersTag(young)}.sig`]));
    for (const days of [4, 6, 8]) await gc(store, [], { days });
    expect(await entriesOf(store, "app")).toHaveLength(3);
    await expectWhole(store);
  });

  it("spare parts and signatures if a manifest is damaged, since it may need them", async () => {
    const store = new MemoryStore();
    const whole = image("whole", { platforms: ["linux/amd64"] });
    await load(whole, store, "app:1");
    await listPart(store, whole);
    await store.delete(blobKey(whole.digest));
    const run = gc(store, [{ untagged: true, dropAfter: "1h" }], { days: 2 });
    await expect(run).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    expect(await namesIn(store, "app")).toHaveLength(2);
  });

  it("hold for gc in slices, too", async () => {
    const store = new MemoryStore();
    for (let i = 0; i < 20; i++) await load(image(`${i}`), store, `app${i % 3}:${i}`, { days: i });
    expect(await dropInSlices(store, [{ keepLatest: 2 }], 21)).toBe(14);
    for (const i of [0, 1, 2]) expect(await namesIn(store, `app${i}`)).toHaveLength(2);
    await expectWhole(store);
  });

  it("keep the parts of an index, though the slice that reads the index ends early", async () => {
    const store = new MemoryStore();
    for (let i = 0; i < 10; i++) {
      const whole = image(`${i}`, { platforms: ["linux/amd64", "linux/arm64"] });
      await load(whole, store, `app:${i}`);
      await listPart(store, whole);
    }
    expect(await dropInSlices(store, [{ untagged: true, dropAfter: "1h" }], 2)).toBe(0);
  });
});

/** Slices of two requests to the end of a run. Returns the number of drops. */
async function dropInSlices(store: ObjectStore, rules: readonly object[], days: number): Promise<number> {
  const { entries: retention } = parseRetention(JSON.stringify(rules));
  let dropped = 0;
  for (let slices = 0; slices < 500; slices++) {
    const layout = openLayout(store, undefined, clockAfter(days * day));
    const options = { graceMs: day, everyMs: 0, maxMs: hour, maxRequests: 2, retention };
    const report = await collectSlice(layout, options);
    dropped += report.dropped;
    if (report.state === "finished") return dropped;
  }
  throw new Error("expected an end");
}

describe("a drop", () => {
  /** Changes the store once, between the moment at which gc has read the index and its drop. */
  function interrupt(store: ObjectStore, act: () => Promise<unknown>): ObjectStore {
    let isDone = false;
    return decorate(store, {
      async get(...args) {
        const object = await store.get(...args);
        if (!args[0].endsWith("index.json") || isDone) return object;
        isDone = true;
        await act();
        return object;
      },
    });
  }

  it.each<[string, Layout, LoadAt, readonly string[]]>([
    ["moves the tag", image("2"), {}, ["old"]],
    ["gives the image a later end", image("1"), { expiresInMs: 90 * day }, ["old"]],
    ["takes the end away", image("1"), {}, ["old"]],
  ])("does nothing if a load %s while gc judges", async (_, layout, options, names) => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:old", { expiresInMs: day });
    const raced = interrupt(store, async () => load(layout, store, "app:old", { days: 2, ...options }));
    const { report } = await gc(raced, [], { days: 2 });
    expect(report).toMatchObject({ dropped: 0, problems: [] });
    expect(await namesIn(store, "app")).toEqual(names);
    expect((await entriesOf(store, "app")).map(({ digest }) => digest)).toEqual([layout.digest]);
    await expectWhole(store);
  });

  /** Changes the store once, before the next write of the index. Writers then leave intents. */
  function race(store: ObjectStore, act: () => Promise<unknown>): ObjectStore {
    let isDone = false;
    return decorate(store, {
      async put(...args) {
        if (args[0].endsWith("index.json") && !isDone) {
          isDone = true;
          await act();
        }
        return store.put(...args);
      },
    });
  }

  it.each([true, false])("holds to its condition, and so does an end, as an intent (%s)", async (isRenewed) => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:1", { expiresInMs: day });
    const later = { days: 2, expiresInMs: 5 * day };
    const raced = race(store, async () => load(image("2"), store, isRenewed ? "app:1" : "app:2", later));
    expect((await gc(raced, [], { days: 2 })).report.dropped).toBe(isRenewed ? 0 : 1);
    expect(await namesIn(store, "app")).toEqual([isRenewed ? "1" : "2"]);

    await load(
      image("3"),
      race(store, async () => load(image("4"), store, "app:4")),
      "app:3",
      { expiresInMs: day },
    );
    expect((await gc(store, [], { days: 2 })).decisions).toEqual(["dropped app:3"]);
  });

  it("does nothing if the tag moves away and back", async () => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:1");
    const raced = interrupt(store, async () => {
      for (const label of ["2", "1"]) await load(image(label), store, "app:1", { days: 2 });
    });
    expect((await gc(raced, [{ dropAfter: "1d" }], { days: 2 })).report.dropped).toBe(0);
    expect(await namesIn(store, "app")).toEqual(["1"]);
  });
});

/** Lists the first part of an index by its digest, as a push does. */
async function listPart(store: ObjectStore, { manifests: [digest = "sha256:"] }: Layout): Promise<void> {
  const { length: size } = await bytesAt(store, blobKey(digest));
  const change = { op: "set", mediaType: types.manifest, digest, size } as const;
  await updateRepository(openLayout(store), { repository: "app", changes: [change] });
}

describe("the end of an image", () => {
  const immutableTags = [{ repository: "**", tag: "v*" }];

  it("is put on, moved and taken away by loads", async () => {
    const store = new MemoryStore();
    const endOf = async (): Promise<unknown> =>
      (await entriesOf(store, "app"))[0]?.annotations?.["dev.stowage.expires"];
    await load(image("1"), store, "app:1", { expiresInMs: hour });
    const first = await endOf();
    expect(first).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
    await load(image("1"), store, "app:1", { expiresInMs: day });
    expect(Date.parse(String(await endOf()))).toBeGreaterThan(Date.parse(String(first)));
    await load(image("1"), store, "app:1");
    expect(await endOf()).toBeUndefined();
  });

  it("comes no earlier for a tag that never moves", async () => {
    const store = new MemoryStore();
    await load(image("1"), store, "app:v1", { expiresInMs: day, immutableTags });
    await load(image("1"), store, "app:v1", { expiresInMs: 2 * day, immutableTags });
    const earlier = load(image("1"), store, "app:v1", { expiresInMs: day, immutableTags });
    await expect(earlier).rejects.toMatchObject({ code: "TAG_IMMUTABLE" });
    await load(image("1"), store, "app:v1", { immutableTags });
    const put = load(image("1"), store, "app:v1", { expiresInMs: day, immutableTags });
    await expect(put).rejects.toMatchObject({ code: "TAG_IMMUTABLE" });
  });

  it.each([0, -1, Number.NaN, 1e15])("is refused after %d ms", async (expiresInMs) => {
    const refused = load(image("1"), new MemoryStore(), "app:1", { expiresInMs });
    await expect(refused).rejects.toMatchObject({ code: "INPUT_INVALID" });
  });

  it("comes with ?expires=, is in the receipt, and the image is pulled until gc", async () => {
    const store = new MemoryStore();
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const send = async (query: string): Promise<Response> =>
      app.request(`/v1/load/app:1${query}`, { method: "PUT", body: Buffer.from(await tarOf(image("1"))) });
    const before = Date.now();
    const answer = await send("?expires=72h");
    expect(answer.status).toBe(201);
    const { images } = (await answer.json()) as { images: { expires: string }[] };
    expect(Date.parse(images[0]?.expires ?? "") - before).toBeGreaterThanOrEqual(72 * hour);
    expect((await app.request("/v2/app/manifests/1")).status).toBe(200);
    await gc(store, [], { days: 2.9 });
    expect((await app.request("/v2/app/manifests/1")).status).toBe(200);
    await gc(store, [], { days: 3.1 });
    expect((await app.request("/v2/app/manifests/1")).status).toBe(404);
  });

  it.each(["", "72", "0s", "3651d", "soon"])("is refused as ?expires=%s", async (text) => {
    const app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone" });
    const answer = await app.request(`/v1/load/app:1?expires=${text}`, { method: "PUT", body: "x" });
    expect(answer.status).toBe(400);
    expect(await answer.text()).toContain("expected a time such as 90m, 72h or 7d, from 1s to 3650d");
  });
});
