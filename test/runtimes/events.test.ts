import { beforeEach, describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { loadR2Events } from "../../src/runtimes/r2-events.ts";
import { loadS3Events } from "../../src/runtimes/s3-events.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt, decorate } from "../support/loading.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const config = parseConfig({ STOWAGE_IMMUTABLE_TAGS: "v*" });
const key = "incoming/team/app:v1";

let store: MemoryStore;
let log: string[];
const report = notesIn(() => log);
beforeEach(async () => {
  store = new MemoryStore();
  log = [];
  await loadArchive(openLayout(store), chunksOf(await tarOf(makeLayout()), 1000), { name: "team/app:v1" });
  await store.put(key, await tarOf(makeLayout({ label: "other" })));
});

/** What both platforms' events are to have in common. */
async function expectNothingMoved(load: () => Promise<void>): Promise<void> {
  const index = "repositories/team/app/_layout/index.json";
  const before = await bytesAt(store, index);
  await load();
  expect(log).toEqual([
    expect.stringMatching(/given up: Cannot change "team\/app:v1": .* never moves and is never removed$/),
  ]);
  expect((await bytesAt(store, index)).equals(before)).toBe(true);
}

describe("tags that the settings protect", () => {
  it("do not move by an event of S3", async () => {
    const { signal } = new AbortController();
    await expectNothingMoved(async () =>
      loadS3Events(
        [{ key, etag: undefined }],
        { config, layout: openLayout(store), copyTargets: new Map() },
        report,
        signal,
      ),
    );
  });

  it("do not move by an event of R2", async () => {
    const eTag = (await store.head(key))?.etag;
    const message = {
      body: { action: "PutObject", object: { key, eTag } },
      ack: () => undefined,
      retry: () => expect.fail("it was to be given up"),
    };
    await expectNothingMoved(async () =>
      loadR2Events({ messages: [message] }, { config, layout: openLayout(store), copyTargets: new Map() }, report),
    );
  });
});

describe("a tarball that is loaded by an event", () => {
  it("says in the log where its images are now", async () => {
    await store.put("incoming/team/other.tar", await tarOf(makeLayout({ name: "elsewhere/app:2" })));
    const { signal } = new AbortController();
    const app = { config, layout: openLayout(store), copyTargets: new Map() };
    await loadS3Events([{ key: "incoming/team/other.tar", etag: undefined }], app, report, signal);
    expect(log).toEqual([expect.stringMatching(/^"incoming\/team\/other.tar": loaded elsewhere\/app:2 created \(/)]);
  });
});

describe("an event with targets in the settings", () => {
  it("copies the images, and comes again if a target is down", async () => {
    await store.put("incoming/team/app:2", await tarOf(makeLayout({ label: "two" })));
    const layout = openLayout(store);
    const target = new MemoryStore();
    const down = decorate(target, {
      list: () => {
        throw new StowageError("STORE_UNAVAILABLE", "the region is down");
      },
    });
    const { signal } = new AbortController();
    const objects = [{ key: "incoming/team/app:2", etag: undefined }];
    const seeded = { ...config, copyAfterLoad: ["us"] };
    const app = (us: ObjectStore): Parameters<typeof loadS3Events>[1] => ({
      config: seeded,
      layout,
      copyTargets: new Map([["us", layout.beside(us)]]),
    });
    await expect(loadS3Events(objects, app(down), report, signal)).rejects.toThrow("the region is down");
    expect(await store.head("incoming/team/app:2")).toBeDefined();
    await loadS3Events(objects, app(target), report, signal);
    expect(log).toEqual([
      expect.stringContaining("loaded team/app:2 created"),
      expect.stringMatching(/^copied to us: 0 images, 1 failed$/),
      expect.stringMatching(/will try again: Cannot copy all images to us \(the region is down\)/),
      expect.stringContaining("loaded team/app:2 unchanged"),
      expect.stringMatching(/^copied to us: 1 images, \d+ bytes$/),
    ]);
    expect(await store.head("incoming/team/app:2")).toBeUndefined();
    expect(await bytesAt(target, "repositories/team/app/_layout/index.json")).not.toHaveLength(0);
  });
});

describe("an event whose images may not go to a target", () => {
  it("is done with, and the log says why", async () => {
    await store.put("incoming/team/app:2", await tarOf(makeLayout({ label: "two" })));
    const layout = openLayout(store);
    const target = layout.beside(new MemoryStore());
    await loadArchive(target, chunksOf(await tarOf(makeLayout({ label: "other" })), 1000), { name: "team/app:2" });
    const seeded = { ...config, copyAfterLoad: ["us"], immutableTags: [{ repository: "**", tag: "2" }] };
    const app = { config: seeded, layout, copyTargets: new Map([["us", target]]) };
    const { signal } = new AbortController();
    await loadS3Events([{ key: "incoming/team/app:2", etag: undefined }], app, report, signal);
    expect(log.at(-1)).toMatch(/^cannot copy team\/app:2: .*never moves and is never removed$/);
    expect(await store.head("incoming/team/app:2")).toBeUndefined();
  });
});

describe("a message of R2's queue that is no event", () => {
  const loop: { self?: unknown } = {};
  loop.self = loop;
  const cases: readonly (readonly [string, unknown])[] = [
    ["nothing", undefined],
    ["a number that JSON does not have", 1n],
    ["an object that holds itself", loop],
    ["an action that is no text", { action: { toString: 1, valueOf: 1 }, object: { key, eTag: "e" } }],
    ["a text of 128 KB", "x".repeat(128_000)],
  ];

  it.each(cases)("is done with, and so is the next one: %s", async (_, body) => {
    const done: string[] = [];
    const messageOf = (name: string, its: unknown): Parameters<typeof loadR2Events>[0]["messages"][number] => ({
      body: its,
      ack: () => done.push(`${name} is done`),
      retry: () => done.push(`${name} comes again`),
    });
    await store.put("incoming/team/next:1", await tarOf(makeLayout({ label: "next" })));
    const eTag = (await store.head("incoming/team/next:1"))?.etag;
    const event = { action: "PutObject", object: { key: "incoming/team/next:1", eTag } };
    const messages = [messageOf("the first", body), messageOf("the second", event)];
    await loadR2Events({ messages }, { config, layout: openLayout(store), copyTargets: new Map() }, report);
    expect(done).toEqual(["the first is done", "the second is done"]);
    expect(log).toEqual([expect.stringMatching(/^nothing to load: /), expect.stringMatching(/loaded team\/next:1/)]);
    expect(log[0]?.length).toBeLessThan(1000);
  });
});
