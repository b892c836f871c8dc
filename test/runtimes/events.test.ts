import { beforeEach, describe, expect, it } from "vitest";
import { loadArchive } from "../../src/load/load-archive.ts";
import { loadR2Events } from "../../src/runtimes/r2-events.ts";
import { loadS3Events } from "../../src/runtimes/s3-events.ts";
import { parseConfig } from "../../src/settings/config.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const config = parseConfig({ STOWAGE_IMMUTABLE_TAGS: "v*" });
const key = "incoming/team/app:v1";

let store: MemoryStore;
let log: string[];
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
  const options = { config, log: (line: string) => log.push(line) };

  it("do not move by an event of S3", async () => {
    const { signal } = new AbortController();
    await expectNothingMoved(async () =>
      loadS3Events([{ key, etag: undefined }], { ...options, layout: openLayout(store), signal }),
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
      loadR2Events({ messages: [message] }, { ...options, layout: openLayout(store) }),
    );
  });
});

describe("a tarball that is loaded by an event", () => {
  it("says in the log where its images are now", async () => {
    await store.put("incoming/team/other.tar", await tarOf(makeLayout({ name: "elsewhere/app:2" })));
    const { signal } = new AbortController();
    const options = { config, layout: openLayout(store), signal, log: (line: string) => log.push(line) };
    await loadS3Events([{ key: "incoming/team/other.tar", etag: undefined }], options);
    expect(log).toEqual([expect.stringMatching(/^"incoming\/team\/other.tar": loaded elsewhere\/app:2 created \(/)]);
  });
});
