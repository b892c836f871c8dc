import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { StowageError } from "../../src/errors.ts";
import { type GarbageOptions, collectGarbage } from "../../src/gc/collect-garbage.ts";
import type { GarbageReport } from "../../src/gc/tally.ts";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { newCommitId } from "../../src/layout/index/commit.ts";
import { blobKey, blobsPrefix, indexKey, intentsPrefix, markKey } from "../../src/layout/keys.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import type { Change } from "../../src/oci/index-change.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { chunksOf, randomBytes, sha256, sha512 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, withBlob, withoutBlob, withoutPlatform } from "../support/layout.ts";
import { bytesAt, decorate, keysOf, loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { until } from "../support/run-stowage.ts";
import { clockAfter, hour } from "./clock-after.ts";

const [shared, own] = [randomBytes(1000), randomBytes(2000, 2)];
const first = makeLayout({ layers: [shared, own], name: "team/app:1" });
const second = makeLayout({ layers: [shared], name: "team/app:2" });
const [ownDigest, sharedDigest] = [sha256(own), sha256(shared)];
/** What the first image alone needs: its layer, its config, its manifest. */
const ownBlobs = [...first.blobs.keys()].filter((digest) => digest !== sharedDigest).map(blobKey);

async function load(layout: Layout, store: ObjectStore): Promise<Receipt> {
  return loadBytes(chunksOf(await tarOf(layout), 5000), store);
}

/** A run so many hours later. */
async function gc(store: ObjectStore, hours: number, options: Partial<GarbageOptions> = {}): Promise<GarbageReport> {
  return collectGarbage(openLayout(store, undefined, clockAfter(hours * hour)), options);
}

async function remove(store: ObjectStore, digest: Digest): Promise<void> {
  await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", digest }] });
}

async function expectWhole(store: ObjectStore): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}

const none = { blobs: 0, bytes: 0 };
const nothing: GarbageReport = {
  condemned: none,
  freed: none,
  waiting: none,
  kept: none,
  removed: none,
  postponed: none,
  undecided: none,
  abandoned: none,
  dropped: 0,
  problems: [],
};

function describeGarbage(open: () => Promise<ObjectStore>): void {
  let store: ObjectStore;
  beforeEach(async () => {
    store = await open();
    await load(first, store);
    await load(second, store);
    await remove(store, first.digest);
  });

  it("condemns what no image needs, deletes it once its grace time is over, and nothing else", async () => {
    const bytes = ownBlobs.length;
    const condemned = await gc(store, 0);
    expect(condemned).toEqual({ ...nothing, condemned: { blobs: bytes, bytes: expect.any(Number) } });
    expect(condemned.condemned.bytes).toBeGreaterThan(own.length);
    expect(await gc(store, 23.9)).toEqual({ ...nothing, waiting: condemned.condemned });
    expect(await keysOf(store, "blobs/")).toEqual(expect.arrayContaining(ownBlobs));
    expect(await gc(store, 24.1)).toEqual({ ...nothing, freed: condemned.condemned });
    expect(await keysOf(store, "blobs/")).toEqual([...second.blobs.keys()].map(blobKey).toSorted());
    expect(await keysOf(store, "condemned/")).toEqual([]);
    expect(await gc(store, 100)).toEqual(nothing);
    await expectWhole(store);
  });

  it("deletes what nobody has finished in two days, and nothing younger", async () => {
    const keys = ["staging/export-1", "staging/upload.1", "staging/upload.json"];
    for (const key of keys) await store.put(key, own);
    const abandoned = { blobs: 3, bytes: 3 * own.length };
    expect((await gc(store, 48.2)).abandoned, "the clocks may differ by a quarter of an hour").toEqual(none);
    expect((await gc(store, 49, { isDryRun: true })).abandoned).toEqual(abandoned);
    expect(await keysOf(store, "staging/")).toEqual(keys);
    expect((await gc(store, 49)).abandoned).toEqual(abandoned);
    expect(await keysOf(store, "staging/")).toEqual([]);
  });

  it("keeps what a load needs again, whether it brings it or finds it", async () => {
    await gc(store, 0);
    const { blobs } = await load(withoutBlob(first, ownDigest), store);
    expect(new Set(blobs.map(({ status }) => status))).toEqual(new Set(["present"]));
    expect(await gc(store, 25)).toEqual({ ...nothing, kept: { blobs: ownBlobs.length, bytes: expect.any(Number) } });
    expect(await keysOf(store, "condemned/")).toEqual([]);
    await expectWhole(store);
  });
}

describe("collectGarbage, in memory", () => describeGarbage(async () => new MemoryStore()));

describe("collectGarbage, in a directory", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "stowage-gc-"));
  });
  afterEach(async () => rm(folder, { recursive: true }));
  describeGarbage(async () => new DirectoryStore(folder));
});

await describeS3Servers("collectGarbage", (server) => describeGarbage(async () => makeS3Store(server)));

describe("collectGarbage", () => {
  let store: ObjectStore;
  beforeEach(async () => {
    store = new MemoryStore();
    await load(first, store);
    await load(second, store);
  });

  it("lets a client that asks what is missing rely on what is not", async () => {
    await remove(store, first.digest);
    await gc(store, 0);
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const body = JSON.stringify({ digests: [ownDigest] });
    const answer = await app.request("/v1/blobs/missing", { method: "POST", body });
    expect(await answer.json()).toMatchObject({ missing: [] });
    const { condemned, freed } = await gc(store, 25);
    expect(condemned, "the grace time of what was asked for begins anew").toEqual({ blobs: 1, bytes: own.length });
    expect(freed.blobs).toBe(ownBlobs.length - 1);
    expect(await keysOf(store, "blobs/")).toContain(blobKey(ownDigest));
    expect((await gc(store, 50)).freed).toEqual(condemned);
  });

  it("changes nothing when it only says what it would do", async () => {
    await remove(store, first.digest);
    const would = await gc(store, 0, { isDryRun: true });
    expect(await keysOf(store, "condemned/")).toEqual([]);
    expect(await gc(store, 0)).toEqual(would);
    const before = await keysOf(store);
    const wouldFree = await gc(store, 25, { isDryRun: true });
    expect(await keysOf(store)).toEqual(before);
    expect(await gc(store, 25)).toEqual(wouldFree);
    expect(wouldFree.freed).toEqual(would.condemned);
  });

  it.each([0, hour - 1, Number.NaN])("refuses a grace time of %d ms", async (graceMs) => {
    await expect(gc(store, 0, { graceMs })).rejects.toMatchObject({ code: "INPUT_INVALID" });
  });

  it("takes a grace time of an hour", async () => {
    await remove(store, first.digest);
    await gc(store, 0, { graceMs: hour });
    expect((await gc(store, 1.1, { graceMs: hour })).freed.blobs).toBe(ownBlobs.length);
  });

  it("keeps all parts of an index that are there, and misses none that are not", async () => {
    const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "team/app:multi" });
    await load(withoutPlatform(index, 1), store);
    const { condemned } = await gc(store, 0);
    expect(condemned.blobs, "the layer and the config of the platform that is absent").toBe(2);
    await gc(store, 25);
    await expectWhole(store);
  });

  it("keeps and frees blobs that are named by their SHA-512", async () => {
    const [kept, gone] = ["kept", "gone"].map((name) =>
      makeLayout({ layers: [shared, own], label: name, name: `team/app:${name}`, digest: sha512 }),
    );
    if (kept === undefined || gone === undefined) throw new Error("expected two images");
    for (const { digest } of [first, second]) await remove(store, digest);
    await gc(store, 0, { now: true });
    for (const image of [kept, gone]) await load(image, store);
    await remove(store, gone.digest);
    const goneBlobs = [...gone.blobs.keys()].filter((digest) => !kept.blobs.has(digest));
    expect((await gc(store, 0)).condemned.blobs).toBe(goneBlobs.length);
    expect(await keysOf(store, "condemned/")).toEqual(goneBlobs.map(markKey).toSorted());
    await load(gone, store);
    expect((await gc(store, 25)).freed, "a load has rescued them").toEqual(none);
    await remove(store, gone.digest);
    await gc(store, 50);
    expect((await gc(store, 75)).freed.blobs).toBe(goneBlobs.length);
    expect(await keysOf(store, blobsPrefix)).toEqual([...kept.blobs.keys()].map(blobKey).toSorted());
    await expectWhole(store);
  });

  it("deletes intents whose writers are long gone, and no others", async () => {
    const placeOf = (repository: string, hoursAgo: number): string =>
      intentsPrefix(repository) + newCommitId(clockAfter(-hoursAgo * hour));
    const [left, used] = [[placeOf("team/app", 2), placeOf("images", 50)], placeOf("team/app", 0.9)];
    for (const key of [...left, used, "intents/note"]) await store.put(key, Buffer.from("{}"));
    await gc(store, 0, { isDryRun: true });
    expect(await keysOf(store, "intents/")).toHaveLength(4);
    await gc(store, 0);
    expect(await keysOf(store, "intents/")).toEqual(["intents/note", used].toSorted());
  });

  it("leaves alone what is no blob", async () => {
    await store.put("blobs/sha256/note", randomBytes(3));
    await store.put("condemned/note", randomBytes(3));
    await gc(store, 0);
    await gc(store, 25);
    expect(await keysOf(store)).toEqual(expect.arrayContaining(["blobs/sha256/note", "condemned/note"]));
  });

  /** It names something, but what: nobody here can tell. */
  async function addForeignEntry(): Promise<void> {
    const digest: Digest = `sha256:${"f".repeat(64)}`;
    await store.put(blobKey(digest), Buffer.from('{"blobs":[]}'));
    const mediaType = "application/vnd.oci.artifact.manifest.v1+json";
    await updateRepository(openLayout(store), {
      repository: "other",
      changes: [{ op: "set", tag: "1", mediaType, digest, size: 12 }],
    });
  }

  it.each([
    ["a manifest that is lost", async () => store.delete(blobKey(second.digest))],
    ["a manifest that cannot be read", async () => replace(blobKey(second.digest), "{")],
    ["an entry of another tool's, whose type nobody knows", async () => addForeignEntry()],
  ])("changes nothing in a store with %s", async (_, damage) => {
    await remove(store, first.digest);
    await gc(store, 0);
    await damage();
    const before = await keysOf(store);
    await expect(gc(store, 25)).rejects.toMatchObject({ code: "STORE_DAMAGED" });
    expect(await keysOf(store)).toEqual(before);
  });

  it("goes on with force in spite of a manifest that cannot be read, and keeps what other images need", async () => {
    await remove(store, first.digest);
    const other = makeLayout({ layers: [shared], label: "other", name: "team/other:1" });
    await load(other, store);
    await replace(blobKey(other.digest), "{");
    const { condemned, problems } = await gc(store, 0, { force: true });
    expect(condemned.blobs, "those of the first image, and the config of the damaged one").toBe(ownBlobs.length + 1);
    expect(problems).toEqual([expect.stringContaining(`Cannot tell what manifest "${other.digest}" needs`)]);
    const { freed } = await gc(store, 25, { force: true });
    expect(freed.blobs).toBe(condemned.blobs);
    expect(await keysOf(store, blobsPrefix)).toEqual([...second.blobs.keys(), other.digest].map(blobKey).toSorted());
  });

  it("keeps all that an index may name that cannot be read, and deals with the rest", async () => {
    const lonely = randomBytes(700, 5);
    await store.put(blobKey(sha256(lonely)), lonely);
    await load(makeLayout({ layers: [shared], label: "other", name: "team/other:1" }), store);
    const before = await keysOf(store, blobsPrefix);
    await replace(indexKey("team/app"), "{");
    const { condemned, problems } = await gc(store, 0);
    expect(condemned.blobs).toBe(1);
    expect(problems).toEqual([expect.stringContaining('Cannot read the index "repositories/team/app/')]);
    expect((await gc(store, 25)).freed.blobs).toBe(1);
    expect(await keysOf(store, blobsPrefix)).toEqual(before.filter((key) => key !== blobKey(sha256(lonely))));
  });

  it("deletes at once what is not needed, and all marks, where nobody else uses the store", async () => {
    const root = second.roots[0] ?? { mediaType: "", digest: "sha256:", size: 0 };
    const signature = makeLayout({ layers: [randomBytes(100, 7)], label: "signature", subject: root });
    await loadBytes(chunksOf(await tarOf(signature), 5000), store, { name: "team/app" });
    await remove(store, first.digest);
    await gc(store, 0);
    await load(first, store);
    await remove(store, second.digest);

    expect(await gc(store, 0, { now: true, isDryRun: true })).toMatchObject({ freed: { blobs: 2 }, condemned: none });
    const { freed, removed, condemned } = await gc(store, 0, { now: true });
    expect(condemned).toEqual(none);
    expect(removed.blobs, "the signature").toBe(1);
    expect(freed.blobs, "manifest and config of the second image, and all of the signature").toBe(2 + 3);
    expect(await keysOf(store, blobsPrefix)).toEqual([...first.blobs.keys()].map(blobKey).toSorted());
    expect(await keysOf(store, "condemned/")).toEqual([]);
    await expectWhole(store);
  });

  it("finishes a deletion that got no answer, and loads wait for it until it surely is over", async () => {
    await remove(store, first.digest);
    await gc(store, 0);
    const silent = decorate(store, {
      delete: async () => ({ unanswered: new StowageError("STORE_UNAVAILABLE", "no answer") }),
    });
    expect((await gc(silent, 25)).undecided.blobs).toBe(ownBlobs.length);
    expect((await gc(store, 25.4)).waiting.blobs, "it may take effect yet").toBe(ownBlobs.length);
    expect((await gc(store, 25.7)).freed.blobs).toBe(ownBlobs.length);
    await load(first, store);
    await expectWhole(store);
  });

  describe("of a referrer without a tag", () => {
    const [subject] = first.roots;
    const referrer = makeLayout({ layers: [randomBytes(300, 5)], label: "about", ...(subject && { subject }) });
    const { mediaType = "", digest = "sha256:", size = 0 } = referrer.roots[0] ?? {};
    const change: Change = { op: "set", mediaType, digest, size, subject: first.digest };

    beforeEach(async () => {
      await loadBytes(chunksOf(await tarOf(referrer), 5000), store, { name: "team/app" });
      await remove(store, digest);
      await updateRepository(openLayout(store), { repository: "team/app", changes: [change] });
    });

    it("keeps it as long as its subject is there", async () => {
      expect(await gc(store, 0)).toEqual(nothing);
    });

    it("keeps it also where only an index in another repository leads to its subject", async () => {
      await remove(store, first.digest);
      await loadBytes(chunksOf(await tarOf(first), 5000), store, { name: "elsewhere:1" });
      expect(await gc(store, 0)).toEqual(nothing);
    });

    it("takes it out of the index after its subject, whole until then, and frees its blobs", async () => {
      await remove(store, first.digest);
      expect((await gc(store, 0)).condemned.blobs).toBe(ownBlobs.length + 1);
      await expectWhole(store);
      expect(await gc(store, 25)).toMatchObject({ removed: { blobs: 1 }, freed: { blobs: ownBlobs.length } });
      expect((await bytesAt(store, "repositories/team/app/_layout/index.json")).toString()).not.toContain(
        `{"mediaType":"${mediaType}","digest":"${digest}"`,
      );
      expect((await gc(store, 50)).condemned.blobs).toBe(referrer.blobs.size);
      expect((await gc(store, 75)).freed.blobs).toBe(referrer.blobs.size);
      await expectWhole(store);
    });

    it("keeps it when its subject comes back while a run takes it for gone", async () => {
      await remove(store, first.digest);
      await gc(store, 0);
      let isBack = false;
      const beside = decorate(store, {
        async *list(prefix, options) {
          if (prefix === blobsPrefix && !isBack) isBack = (await load(first, store)).images.length > 0; // needs are known
          yield* store.list(prefix, options);
        },
      });
      expect(await gc(beside, 25)).toMatchObject({ removed: none, freed: none });
      expect((await bytesAt(store, "repositories/team/app/_layout/index.json")).toString()).toContain(
        `"digest":"${digest}"`,
      );
      await expectWhole(store);
    });

    it("keeps it when it is loaded again while a run is held up, for longer than loads wait", async () => {
      await remove(store, first.digest);
      await gc(store, 0);
      let isHeldUp = false;
      const beside = decorate(store, {
        async put(key, ...rest) {
          const answer = await store.put(key, ...rest);
          if (key !== markKey(digest) || isHeldUp) return answer;
          isHeldUp = true;
          vi.setSystemTime(Date.now() + hour);
          await loadBytes(chunksOf(await tarOf(referrer), 5000), store, { name: "team/app" });
          return answer;
        },
      });
      vi.useFakeTimers({ now: Date.now() + 25 * hour, toFake: ["Date"] });
      await gc(beside, 0).finally(() => vi.useRealTimers());
      expect(isHeldUp).toBe(true);
      expect((await bytesAt(store, "repositories/team/app/_layout/index.json")).toString()).toContain(
        `"digest":"${digest}"`,
      );
      await expectWhole(store);
    });

    it("lets its grace time begin anew when its subject was back meanwhile", async () => {
      await remove(store, first.digest);
      await gc(store, 0);
      await load(first, store);
      await remove(store, first.digest);
      expect(await gc(store, 25)).toMatchObject({ removed: none, freed: none });
      expect(await gc(store, 50)).toMatchObject({ removed: { blobs: 1 } });
    });

    it("keeps it when it is loaded again before that", async () => {
      await remove(store, first.digest);
      await gc(store, 0);
      await loadBytes(chunksOf(await tarOf(referrer), 5000), store, { name: "team/app" });
      expect(await gc(store, 25)).toMatchObject({ removed: none });
      await expectWhole(store);
    });
  });

  /** Puts other bytes under a key. */
  async function replace(key: string, text: string): Promise<void> {
    await store.put(key, new TextEncoder().encode(text));
  }
});

describe("a load beside a gc", () => {
  let store: MemoryStore;
  beforeEach(async () => {
    store = new MemoryStore();
    await load(withBlob(second, own), store);
  });

  async function mark(digest: Digest, state: string, ageMs: number): Promise<void> {
    await store.put(markKey(digest), Buffer.from(JSON.stringify({ state, time: Date.now() - ageMs, id: "1" })));
  }

  it("waits for a blob that is being deleted, and then writes it", async () => {
    await mark(ownDigest, "deleting", 0);
    setTimeout(() => {
      void store.delete(blobKey(ownDigest)).then(async () => store.delete(markKey(ownDigest)));
    }, 100);
    const { blobs } = await load(first, store);
    expect(blobs.find(({ digest }) => digest === ownDigest)).toMatchObject({ status: "written" });
    await expectWhole(store);
  });

  it("takes over a mark whose gc has died", async () => {
    await mark(ownDigest, "deleting", hour);
    await load(first, store);
    expect(JSON.parse((await bytesAt(store, markKey(ownDigest))).toString())).toMatchObject({ state: "rescued" });
  });

  it("looks for everything again if it took long, and publishes nothing that is gone by then", async () => {
    const bytes = await tarOf(first);
    async function* slowly(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, -2000);
      await until(async () => ((await store.head(blobKey(first.digest))) === undefined ? undefined : true));
      vi.useFakeTimers({ now: Date.now() + hour, toFake: ["Date"] });
      await store.delete(blobKey(ownDigest));
      yield bytes.subarray(-2000);
    }
    await expect(loadBytes(slowly(), store).finally(() => vi.useRealTimers())).rejects.toMatchObject({
      code: "MANIFEST_BLOB_UNKNOWN",
      detail: { digest: ownDigest },
    });
    await expectWhole(store);
  });

  it("publishes nothing if it is held up after that, for so long that a blob may be gone", async () => {
    let isHeldUp = false;
    const beside = decorate(store, {
      async get(key, options) {
        const found = await store.get(key, options);
        if (key !== indexKey("team/app") || isHeldUp) return found;
        isHeldUp = true;
        vi.useFakeTimers({ now: Date.now() + hour, toFake: ["Date"] });
        await store.delete(blobKey(ownDigest));
        return found;
      },
    });
    await expect(load(first, beside).finally(() => vi.useRealTimers())).rejects.toMatchObject({
      code: "COMMIT_CONFLICT",
    });
    await expectWhole(store);
  });

  it("asks for each blob's own mark where there are very many", async () => {
    for (let i = 0; i <= 1000; i++) await mark(`sha256:${i.toString(16).padStart(64, "0")}`, "condemned", 0);
    await mark(ownDigest, "condemned", 0);
    const { requests } = await load(first, store);
    expect(JSON.parse((await bytesAt(store, markKey(ownDigest))).toString())).toMatchObject({ state: "rescued" });
    expect(requests).toMatchObject({ list: 1 });
  });

  it("stops at a mark that it cannot read", async () => {
    await store.put(markKey(ownDigest), Buffer.from('{"state":"gone"}'));
    await expect(load(first, store)).rejects.toThrow(/Cannot read "condemned\/.*": found the state "gone", expected/);
  });
});
