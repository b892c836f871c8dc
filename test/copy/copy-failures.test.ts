import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { describeFailure } from "../../src/copy/copy-images.ts";
import type { Digest } from "../../src/digest.ts";
import { StowageError } from "../../src/errors.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey, indexKey } from "../../src/layout/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { hour } from "../gc/clock-after.ts";
import { randomBytes, sha256, sha512 } from "../support/bytes.ts";
import { type Layout, makeLayout, types } from "../support/layout.ts";
import { bytesAt, decorate, keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { beforeBlobs, copyBetween, copying, fill, imagesOf, watch } from "./copying.ts";

const shared = randomBytes(40_000);
const own = randomBytes(9000, 2);
const one = makeLayout({ layers: [shared, own], name: "team/app:1", label: "one" });
const two = makeLayout({ layers: [shared], name: "team/app:2", label: "two" });
const web = makeLayout({ layers: [shared], name: "team/web:1", label: "web" });
const old = makeLayout({ label: "old", name: "team/app:1" });
const other = makeLayout({ label: "other", name: "team/app:1" });
const everything = [`team/app:1 ${one.digest}`, `team/app:2 ${two.digest}`, `team/web:1 ${web.digest}`];

async function expectWhole(store: ObjectStore): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}

/** Changes one bit of an object, behind the back of everybody. */
async function damage(store: ObjectStore, digest: Digest): Promise<void> {
  const bytes = await bytesAt(store, blobKey(digest));
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await openLayout(store).store.put(blobKey(digest), bytes);
}

async function move(store: ObjectStore, layout: Layout, tag: string): Promise<void> {
  const { digest } = layout;
  const size = layout.blobs.get(digest)?.length ?? 0;
  const change = { op: "set", tag, mediaType: types.manifest, digest, size } as const;
  await updateRepository(openLayout(store), { repository: "team/app", changes: [change] });
}

describe("copyImages, if an image fails", () => {
  it("leaves an immutable tag where it is, and publishes the others", async () => {
    const from = await fill(new MemoryStore(), one, two, web);
    const to = await fill(new MemoryStore(), old);
    const immutableTags = [{ repository: "team/*", tag: "1*" }];
    const dry = await copyBetween(from, to, { immutableTags, dryRun: true });
    const { images, failures } = await copyBetween(from, to, { immutableTags });
    expect(dry.failures).toEqual(failures);
    expect(await keysOf(to, "blobs/"), "no bytes move for it").not.toContain(blobKey(sha256(own)));
    expect(failures).toMatchObject([{ repository: "team/app", reference: "1", error: { code: "TAG_IMMUTABLE" } }]);
    expect(failures.map(describeFailure)).toEqual([
      expect.stringMatching(/^team\/app:1: TAG_IMMUTABLE: Cannot change/),
    ]);
    expect(images).toHaveLength(2);
    expect(await imagesOf(to)).toEqual([
      `team/app:1 ${old.digest}`,
      `team/app:2 ${two.digest}`,
      `team/web:1 ${web.digest}`,
    ]);
    const same = await copyBetween(from, to, {
      patterns: ["team/app:2"],
      immutableTags: [{ repository: "**", tag: "*" }],
    });
    expect(same.images).toMatchObject([{ status: "unchanged" }]);
  });

  it("leaves a tag that somebody moves meanwhile, and publishes the others", async () => {
    const from = await fill(new MemoryStore(), one, two, web);
    const objects = await fill(new MemoryStore(), old, other);
    await move(objects, old, "1");
    const to = beforeBlobs(objects, async () => move(objects, other, "1"));
    const { failures } = await copyBetween(from, to);
    expect(failures).toMatchObject([{ repository: "team/app", reference: "1", error: { code: "CONDITION_FAILED" } }]);
    expect(await imagesOf(objects)).toEqual([
      `team/app:1 ${other.digest}`,
      `team/app:2 ${two.digest}`,
      `team/web:1 ${web.digest}`,
    ]);
    await expectWhole(objects);
  });

  it("leaves a tag that somebody makes meanwhile", async () => {
    const from = await fill(new MemoryStore(), one, two);
    const objects = new MemoryStore();
    const to = beforeBlobs(objects, async () => fill(objects, other));
    const { failures } = await copyBetween(from, to);
    expect(failures).toMatchObject([{ reference: "1", error: { code: "CONDITION_FAILED" } }]);
    expect(await imagesOf(objects)).toEqual([`team/app:1 ${other.digest}`, `team/app:2 ${two.digest}`]);
  });

  describe.each([
    ["streamed", { mode: "stream" }],
    ["copied by the store", { mode: "server", verify: true }],
  ] as const)("with bytes that are %s", (_, options) => {
    it.each([
      ["damaged", "STORE_DAMAGED", async (from: ObjectStore) => damage(from, sha256(own))],
      [
        "cut short",
        "STORE_DAMAGED",
        async (from: ObjectStore) => openLayout(from).store.put(blobKey(sha256(own)), Buffer.from("short")),
      ],
      [
        "lost",
        /^STORE_(?:DAMAGED|UNAVAILABLE)$/,
        async (from: ObjectStore) => openLayout(from).store.delete(blobKey(sha256(own))),
      ],
    ] as const)("goes on with the others if a blob of the source is %s", async (__, code, harm) => {
      const from = await fill(new MemoryStore(), one, two, web);
      await harm(from);
      const to = copying(new MemoryStore());
      const { failures } = await copyBetween(from, to, { sourceStore: from, ...options });
      expect(failures).toMatchObject([{ repository: "team/app", reference: "1" }]);
      expect(failures[0]?.error.code).toMatch(code);
      expect(await imagesOf(to)).toEqual(everything.slice(1));
      expect(await keysOf(to, "blobs/"), "nobody may find the wrong bytes").not.toContain(blobKey(sha256(own)));
      await expectWhole(to);

      await openLayout(from).store.put(blobKey(sha256(own)), own);
      expect((await copyBetween(from, to, { sourceStore: from, ...options })).failures).toEqual([]);
      expect(await imagesOf(to)).toEqual(everything);
      await expectWhole(to);
    });
  });

  it("reads what the store has copied if its digest is a SHA-512: no store tells that hash", async () => {
    const strong = makeLayout({ layers: [own], name: "team/strong:1", digest: sha512 });
    const from = await fill(new MemoryStore(), strong, web);
    await damage(from, sha512(own));
    const to = copying(new MemoryStore());
    const { failures } = await copyBetween(from, to, { sourceStore: from, mode: "server" });
    expect(failures).toMatchObject([{ repository: "team/strong", error: { code: "STORE_DAMAGED" } }]);
    expect(await imagesOf(to)).toEqual([`team/web:1 ${web.digest}`]);
    expect(await keysOf(to, "blobs/")).not.toContain(blobKey(sha512(own)));
  });

  it("goes on with the others if a manifest of the source is damaged", async () => {
    const from = await fill(new MemoryStore(), one, two, web);
    await damage(from, one.digest);
    const to = new MemoryStore();
    const { failures } = await copyBetween(from, to);
    expect(failures).toMatchObject([{ repository: "team/app", reference: "1", error: { code: "STORE_DAMAGED" } }]);
    expect(await imagesOf(to)).toEqual(everything.slice(1));
  });

  it("replaces a manifest of the target that is damaged", async () => {
    const from = await fill(new MemoryStore(), one, two, web);
    const to = new MemoryStore();
    const bytes = Buffer.from(one.blobs.get(one.digest) ?? "");
    await openLayout(to).store.put(blobKey(one.digest), bytes.fill(" ", 0, 1));
    expect((await copyBetween(from, to)).failures).toEqual([]);
    expect(await imagesOf(to)).toEqual(everything);
    await expectWhole(to);
  });

  it("goes on with the others if an index of the target is damaged", async () => {
    const from = await fill(new MemoryStore(), one, two, web);
    const to = new MemoryStore();
    await openLayout(to).store.put(indexKey("team/app"), Buffer.from("{"));
    const { images, failures } = await copyBetween(from, to);
    expect(images).toMatchObject([{ repository: "team/web", reference: "1" }]);
    expect(failures.map(({ reference }) => reference).toSorted()).toEqual(["1", "2"]);
    for (const { error } of failures) expect(error.code).toBe("STORE_DAMAGED");
  });

  it("finds all blobs again that a slow copy has lost, and publishes only what is whole", async () => {
    const third = makeLayout({ layers: [randomBytes(500, 3)], name: "team/app:3", label: "third" });
    const first = makeLayout({ layers: [own], name: "team/app:1" });
    const from = await fill(new MemoryStore(), first, two, third);
    const objects = new MemoryStore();
    const layers = [own, shared];
    for (const layer of layers) await objects.put(blobKey(sha256(layer)), layer);
    let lateMs = 0;
    const clock = { ...systemClock, now: () => systemClock.now() + lateMs };
    // The copy takes two hours. Meanwhile a gc deletes both layers.
    const slow = beforeBlobs(objects, async () => {
      lateMs = 2 * hour;
      for (const layer of layers) await objects.delete(blobKey(sha256(layer)));
    });
    const { failures } = await copyBetween(from, openLayout(slow, undefined, clock));
    expect(failures.map(({ reference, error }) => `${reference} ${error.code}`).toSorted()).toEqual([
      "1 MANIFEST_BLOB_UNKNOWN",
      "2 MANIFEST_BLOB_UNKNOWN",
    ]);
    expect(await imagesOf(objects)).toEqual([`team/app:3 ${third.digest}`]);
    await expectWhole(objects);
  });

  it("names an image that is gone", async () => {
    const from = await fill(new MemoryStore(), one);
    const to = new MemoryStore();
    const { images, failures } = await copyBetween(from, to, { patterns: ["team/app:1", "team/app:none"] });
    expect(images).toHaveLength(1);
    expect(failures).toMatchObject([{ reference: "none", error: { code: "MANIFEST_UNKNOWN" } }]);
  });

  it("refuses to stream if the store must copy and cannot", async () => {
    const from = await fill(new MemoryStore(), one);
    const to = watch(new MemoryStore());
    const { images, failures } = await copyBetween(from, to.store, { sourceStore: from, mode: "server" });
    expect(images).toEqual([]);
    expect(failures).toMatchObject([{ error: { code: "UNSUPPORTED" } }]);
    expect(to.writes).not.toContain(indexKey("team/app"));
  });
});

describe("copyImages, stopped by its signal", () => {
  it.each(Array.from({ length: 12 }, (_, i) => i))(
    "names no missing blob, after %i writes, and goes on later",
    async (count) => {
      const from = await fill(new MemoryStore({ partBytes: 1000 }), one, two, web);
      const objects = new MemoryStore({ partBytes: 1000 });
      await openLayout(objects).store.put(blobKey(sha256(Buffer.from("x"))), Buffer.from("x")); // the probe is over
      const controller = new AbortController();
      let left = count;
      const stop = async (): Promise<void> => {
        if (left-- <= 0) controller.abort(new StowageError("INTERRUPTED", "ended by SIGINT"));
      };
      const to = decorate(objects, {
        put: async (...args) => stop().then(async () => objects.put(...args)),
        write: async (...args) => stop().then(async () => objects.write(...args)),
      });
      // A commit that has begun is not cut short.
      const code = await copyBetween(from, to, { signal: controller.signal }).then(
        () => "done",
        (error: unknown) => (error instanceof StowageError ? error.code : error),
      );
      if (count < 8) expect(code).toBe("INTERRUPTED");
      else expect(code).toMatch(/^(?:INTERRUPTED|done)$/);
      const { problems } = await verifyStore(openLayout(objects));
      expect(problems).toEqual([]);
      const kept = (await keysOf(objects, "blobs/")).length;
      const { failures, blobs } = await copyBetween(from, objects);
      expect(failures).toEqual([]);
      expect(blobs.present.blobs).toBe(kept - 1);
      expect(await imagesOf(objects)).toEqual(everything);
      await expectWhole(objects);
    },
  );
});
