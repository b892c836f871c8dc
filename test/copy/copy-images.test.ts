import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { LayoutSource } from "../../src/layout/layout-source.ts";
import { blobKey, indexKey } from "../../src/layout/keys.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { randomBytes, sha256, sha512 } from "../support/bytes.ts";
import { type Layout, type TestDescriptor, makeLayout, types } from "../support/layout.ts";
import { bytesAt, decorate, keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { blobsOf, copyBetween, copying, fill, imagesOf, watch } from "./copying.ts";

const shared = randomBytes(40_000);
const one = makeLayout({ layers: [shared, randomBytes(9000, 2)], name: "team/app:1", label: "one" });
const two = makeLayout({ layers: [shared], name: "team/app:2", label: "two" });
const web = makeLayout({ layers: [shared], name: "team/web:1", label: "web" });
const multi = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], name: "team/multi:1" });
const signature = makeLayout({ subject: rootOf(one), label: "signature", name: "team/app:signature" });
const approval = makeLayout({ subject: rootOf(signature), label: "approval", name: "team/app:approval" });
const cosign = makeLayout({ label: "cosign", name: `team/app:${one.digest.replace(":", "-")}.sig` });

const strong = makeLayout({
  layers: [shared, randomBytes(500, 3)],
  name: "team/strong:1",
  digest: (bytes) => (bytes.length === shared.length ? sha256 : sha512)(bytes),
});

function rootOf({ roots: [root], blobs }: Layout): TestDescriptor {
  if (root === undefined) throw new Error("expected an image");
  return { mediaType: types.manifest, digest: root.digest, size: blobs.get(root.digest)?.length ?? 0 };
}

function digestsOf(...layouts: readonly Layout[]): string[] {
  return [...new Set(layouts.flatMap(({ blobs }) => [...blobs.keys()]))].toSorted();
}

async function expectWhole(store: ObjectStore): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
}

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function makeDirectoryStore(): Promise<ObjectStore> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-copy-"));
  folders.push(folder);
  return new DirectoryStore(folder);
}

const kinds: Readonly<Record<string, () => Promise<ObjectStore>>> = {
  "a store in memory": async () => new MemoryStore(),
  "a store in memory that streams": async () => new MemoryStore({ partBytes: 1000 }),
  "a store that copies by itself": async () => copying(new MemoryStore()),
  "a directory": makeDirectoryStore,
};

describe.each(Object.entries(kinds))("copyImages into %s", (_, open) => {
  it("copies all images, byte for byte, with their referrers", async () => {
    const all = [one, two, web, multi, signature, approval, cosign, strong];
    const from = await fill(new MemoryStore(), ...all);
    const to = await open();
    const receipt = await copyBetween(from, to, { sourceStore: from });
    expect(receipt.failures).toEqual([]);
    expect(receipt.images.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => "created"));
    expect(await imagesOf(to)).toEqual(await imagesOf(from));
    expect(await blobsOf(to)).toEqual(digestsOf(...all));
    for (const { blobs } of [one, strong]) {
      for (const [digest, bytes] of blobs) expect(await bytesAt(to, blobKey(digest))).toEqual(bytes);
    }
    await expectWhole(to);
  });

  it("writes nothing the second time", async () => {
    const from = await fill(new MemoryStore(), one, two, web, signature);
    const to = await open();
    await copyBetween(from, to);
    const { store, writes } = watch(to);
    const receipt = await copyBetween(from, store);
    expect(receipt.images.map(({ status }) => status)).toEqual(Array.from({ length: 4 }, () => "unchanged"));
    expect(receipt.blobs.copied).toEqual({ blobs: 0, bytes: 0 });
    expect(receipt.blobs.present).toEqual(receipt.blobs.total);
    expect(writes).toEqual([]);
  });

  it("replaces an object of a wrong size", async () => {
    const from = await fill(new MemoryStore(), one);
    const to = await open();
    const [layer = "sha256:"] = one.layers;
    await openLayout(to).store.put(blobKey(layer), Buffer.from("cut short"));
    expect((await copyBetween(from, to, { sourceStore: from })).failures).toEqual([]);
    await expectWhole(to);
  });
});

describe("copyImages", () => {
  it("tells what it has copied", async () => {
    const from = await fill(new MemoryStore(), one, two);
    const to = await fill(new MemoryStore(), two);
    const bytesOf = ({ blobs }: Layout, digests: readonly Digest[] = [...blobs.keys()]): number =>
      digests.reduce((sum, digest) => sum + (blobs.get(digest)?.length ?? 0), 0);
    const own = [...one.blobs.keys()].filter((digest) => !two.blobs.has(digest));
    let moved = 0;
    const receipt = await copyBetween(from, to, { onBytes: (bytes) => (moved += bytes) });
    expect(receipt).toEqual({
      images: expect.arrayContaining([
        { repository: "team/app", reference: "1", digest: one.digest, status: "created" },
        { repository: "team/app", reference: "2", digest: two.digest, status: "unchanged" },
      ]) as unknown,
      failures: [],
      blobs: {
        total: { blobs: digestsOf(one, two).length, bytes: bytesOf(one, own) + bytesOf(two) },
        present: { blobs: two.blobs.size, bytes: bytesOf(two) },
        copied: { blobs: own.length, bytes: bytesOf(one, own) },
        copiedByStore: { blobs: 0, bytes: 0 },
      },
    });
    expect(moved).toBe(bytesOf(one, own));
  });

  it("moves a shared blob once, and each blob before its manifest, and each manifest before the index", async () => {
    const from = await fill(new MemoryStore(), one, two, web, multi, signature);
    const source = watch(from);
    const target = watch(new MemoryStore());
    await copyBetween(source.store, target.store);
    const { writes } = target;
    for (const digest of digestsOf(one, two, web, multi, signature)) {
      expect(
        writes.filter((key) => key === blobKey(digest as Digest)),
        digest,
      ).toHaveLength(1);
    }
    expect(source.reads.filter((read) => read === `get ${blobKey(sha256(shared))}`)).toHaveLength(1);
    for (const [repository, layouts] of [
      ["team/app", [one, two, signature]],
      ["team/web", [web]],
      ["team/multi", [multi]],
    ] as const) {
      const index = writes.indexOf(indexKey(repository));
      expect(writes.lastIndexOf(indexKey(repository)), "one commit").toBe(index);
      for (const layout of layouts) {
        const root = writes.indexOf(blobKey(layout.digest));
        expect(root).toBeLessThan(index);
        for (const digest of layout.blobs.keys()) {
          if (digest !== layout.digest) expect(writes.indexOf(blobKey(digest))).toBeLessThan(root);
        }
      }
    }
  });

  it("asks for few blobs one by one, and lists the target for many", async () => {
    const many = makeLayout({ layers: Array.from({ length: 90 }, (_, i) => randomBytes(50, i)), name: "team/many:1" });
    for (const [layout, requests] of [
      [one, { head: one.blobs.size, list: 1 }],
      [many, { head: 0, list: 2 }],
    ] as const) {
      const from = await fill(new MemoryStore(), layout);
      const to = new MemoryStore();
      await copyBetween(from, to);
      const counted = new CountingStore(to);
      await copyBetween(from, counted);
      // The marks of gc are listed first. One GET is for the index.
      expect(counted.requests).toEqual({ get: 1, put: 0, part: 0, copy: 0, delete: 0, ...requests });
    }
  });

  it("tells a store that copies by itself what the listings have shown", async () => {
    const many = makeLayout({ layers: Array.from({ length: 90 }, (_, i) => randomBytes(50, i)), name: "team/many:1" });
    const from = await fill(new MemoryStore(), many);
    const to = copying(new MemoryStore());
    const told: boolean[] = [];
    const watched = decorate(to, {
      async copyFrom(source, key, ...rest) {
        const [, { sourceEtag, isSeenAbsent }] = rest;
        expect(isSeenAbsent).toBe(true);
        if (sourceEtag !== undefined) expect(sourceEtag).toBe((await source.head(key))?.etag);
        told.push(sourceEtag !== undefined);
        return (await to.copyFrom?.(source, key, ...rest)) ?? "refused";
      },
    });
    const reads = watch(from);
    await copyBetween(from, watched, { sourceStore: reads.store, concurrency: 4 });
    // The source is listed after the first copy. Three more are under way by then.
    expect(told.filter((isTold) => !isTold).length).toBeLessThanOrEqual(4);
    expect(told.length).toBe(many.blobs.size - 1);
    expect(reads.reads.filter((read) => read.startsWith("list "))).toEqual(["list blobs/"]);
    await expectWhole(to);
  });

  it("copies a blob whose object in the source is another one since the listing", async () => {
    const many = makeLayout({ layers: Array.from({ length: 90 }, (_, i) => randomBytes(50, i)), name: "team/many:1" });
    const from = await fill(new MemoryStore(), many);
    const to = copying(new MemoryStore());
    const changed = decorate(to, {
      async copyFrom(source, key, into, options) {
        if (options.sourceEtag !== undefined) return "refused";
        return (await to.copyFrom?.(source, key, into, options)) ?? "refused";
      },
    });
    const { failures, blobs } = await copyBetween(from, changed, { sourceStore: from, mode: "server" });
    expect(failures).toEqual([]);
    expect(blobs.copiedByStore.blobs).toBe(many.blobs.size - 1);
    await expectWhole(to);
  });

  it("does not go through a large store for a few blobs", async () => {
    const few = makeLayout({ layers: Array.from({ length: 70 }, (_, i) => randomBytes(50, i)), name: "team/few:1" });
    const from = await fill(new MemoryStore(), few);
    const to = await fill(new MemoryStore(), few);
    const others = openLayout(to).store;
    for (let i = 0; i < 5000; i++) await others.put(blobKey(sha256(Buffer.from(`${i}`))), Buffer.from("another"));
    const receipt = await copyBetween(from, to);
    expect(receipt.images).toMatchObject([{ status: "unchanged" }]);
    expect(receipt.blobs.present).toEqual(receipt.blobs.total);
  });

  it("leaves the images of the target, and moves a tag that differs", async () => {
    const other = makeLayout({ label: "other", name: "team/app:other" });
    const old = makeLayout({ label: "old", name: "team/app:1" });
    const from = await fill(new MemoryStore(), one, two);
    const to = await fill(new MemoryStore(), other, old);
    const { images } = await copyBetween(from, to);
    expect(images).toEqual(
      expect.arrayContaining([
        { repository: "team/app", reference: "1", digest: one.digest, status: "updated", previous: old.digest },
        { repository: "team/app", reference: "2", digest: two.digest, status: "created" },
      ]),
    );
    expect(await imagesOf(to)).toEqual([
      `team/app:1 ${one.digest}`,
      `team/app:2 ${two.digest}`,
      `team/app:other ${other.digest}`,
    ]);
    await expectWhole(to);
  });

  it("copies by digest, without a tag", async () => {
    const from = await fill(new MemoryStore(), one);
    const to = new MemoryStore();
    const { images } = await copyBetween(from, to, { patterns: [`team/app@${one.digest}`] });
    expect(images).toEqual([{ repository: "team/app", reference: one.digest, digest: one.digest, status: "created" }]);
    expect(await imagesOf(to)).toEqual([`team/app@${one.digest}`]);
  });

  it("copies under another name, with the referrers", async () => {
    const from = await fill(new MemoryStore(), one, cosign, signature);
    const to = new MemoryStore();
    const patterns = ["team/app:1"];
    await copyBetween(from, to, { patterns, as: { repository: "ours/app", tag: "stable" } });
    await copyBetween(from, to, { patterns, as: { repository: "ours/same", tag: undefined } });
    const tags = ["signature", `${one.digest.replace(":", "-")}.sig`].toSorted();
    const [signed, named] = [signature.digest, cosign.digest];
    expect(await imagesOf(to)).toEqual(
      [
        `ours/app:stable ${one.digest}`,
        `ours/same:1 ${one.digest}`,
        ...["app", "same"].flatMap((name) =>
          tags.map((tag) => `ours/${name}:${tag} ${tag === "signature" ? signed : named}`),
        ),
      ].toSorted(),
    );
    await expectWhole(to);
  });

  it("copies tags of one image, with the same signatures", async () => {
    const from = await fill(new MemoryStore(), one, cosign, signature, approval);
    const { mediaType, digest, size } = rootOf(one);
    const changes = ["a", "b", "c"].map((tag) => ({ op: "set", tag, mediaType, digest, size }) as const);
    await updateRepository(openLayout(from), { repository: "team/app", changes });
    const to = new MemoryStore();
    const { failures } = await copyBetween(from, to, { patterns: ["team/app:a", "team/app:b", "team/app:c"] });
    expect(failures).toEqual([]);
    expect((await imagesOf(to)).length).toBe(6);
    const again = await copyBetween(from, to);
    expect(again.failures).toEqual([]);
    expect(await imagesOf(to)).toEqual(await imagesOf(from));
  });

  it("leaves referrers out if they are not wanted", async () => {
    const from = await fill(new MemoryStore(), one, cosign);
    const to = new MemoryStore();
    await copyBetween(from, to, { referrers: false });
    expect(await imagesOf(to)).toEqual([`team/app:1 ${one.digest}`]);
    expect(await blobsOf(to)).toEqual(digestsOf(one));
  });

  it("copies a signature that came later", async () => {
    const from = await fill(new MemoryStore(), one);
    const to = new MemoryStore();
    await copyBetween(from, to);
    await fill(from, cosign, signature);
    await copyBetween(from, to, { patterns: ["team/app:1"] });
    expect(await imagesOf(to)).toEqual(await imagesOf(from));
  });

  it("copies one platform, and completes the index later", async () => {
    const from = await fill(new MemoryStore(), multi);
    const to = new MemoryStore();
    const part = await copyBetween(from, to, { platforms: ["linux/arm64"] });
    expect(part.images).toMatchObject([{ status: "created", digest: multi.digest }]);
    const [amd64 = "sha256:", arm64 = "sha256:"] = multi.manifests;
    expect(await blobsOf(to)).toEqual(expect.arrayContaining([multi.digest, arm64]));
    expect(await blobsOf(to)).not.toContain(amd64);
    await expectWhole(to);
    const sparse = await copyBetween(from, to, { platforms: ["linux/arm64"] });
    expect(sparse.images).toMatchObject([{ status: "unchanged" }]);

    const rest = await copyBetween(from, to);
    expect(rest.failures).toEqual([]);
    expect(rest.blobs.copied.blobs).toBe(3); // a layer, a config and a manifest
    expect(await blobsOf(to)).toEqual(digestsOf(multi));
    expect((await copyBetween(to, new MemoryStore())).failures).toEqual([]);
  });

  it("copies a sparse index as it is", async () => {
    const from = await fill(new MemoryStore(), multi);
    const middle = new MemoryStore();
    await copyBetween(from, middle, { platforms: ["linux/amd64"] });
    const to = new MemoryStore();
    expect((await copyBetween(middle, to)).failures).toEqual([]);
    expect(await blobsOf(to)).toEqual(await blobsOf(middle));
    await expectWhole(to);
  });

  it("names an image that has none of the platforms", async () => {
    const from = await fill(new MemoryStore(), one, multi);
    const { images, failures } = await copyBetween(from, new MemoryStore(), { platforms: ["linux/arm64"] });
    expect(images).toMatchObject([{ repository: "team/multi" }]);
    expect(failures).toMatchObject([{ repository: "team/app", reference: "1", error: { code: "MANIFEST_UNKNOWN" } }]);
  });

  it("writes nothing in a dry run, and tells what it would copy", async () => {
    const old = makeLayout({ label: "old", name: "team/app:1" });
    const from = await fill(new MemoryStore(), one, two, web);
    const objects = await fill(new MemoryStore(), old, two);
    // A blob that is needed is condemned: only a real copy rescues it.
    await updateRepository(openLayout(objects), { repository: "team/app", changes: [{ op: "remove", tag: "2" }] });
    expect((await collectGarbage(openLayout(objects), {})).condemned.blobs).toBe(two.blobs.size);
    const { store, writes } = watch(objects);
    const { images, blobs } = await copyBetween(from, store, { dryRun: true });
    expect(new Set(images)).toEqual(
      new Set([
        { repository: "team/app", reference: "1", digest: one.digest, status: "updated", previous: old.digest },
        { repository: "team/app", reference: "2", digest: two.digest, status: "created" },
        { repository: "team/web", reference: "1", digest: web.digest, status: "created" },
      ]),
    );
    expect(blobs).toMatchObject({ present: { blobs: two.blobs.size }, copied: { blobs: 0 } });
    expect(writes).toEqual([]);
  });

  it.each([1, 80])("rescues %i blobs and more that a gc has condemned", async (layers) => {
    const layout = makeLayout({
      layers: Array.from({ length: layers }, (_, i) => randomBytes(50, i)),
      name: "team/app:1",
    });
    const from = await fill(new MemoryStore(), layout);
    const to = await fill(new MemoryStore(), layout);
    await updateRepository(openLayout(to), { repository: "team/app", changes: [{ op: "remove", tag: "1" }] });
    await collectGarbage(openLayout(to), {});
    expect(await keysOf(to, "condemned/")).toHaveLength(layout.blobs.size);
    const { blobs } = await copyBetween(from, to);
    expect(blobs.copied.blobs).toBe(0);
    await collectGarbage(openLayout(to, undefined, clockAfter(25 * hour)), {});
    await expectWhole(to);
    expect(await imagesOf(to)).toEqual(await imagesOf(from));
  });

  it("copies a blob again that a gc deletes after it was listed", async () => {
    const layers = Array.from({ length: 80 }, (_, i) => randomBytes(50, i));
    const layout = makeLayout({ layers, name: "team/app:1" });
    const from = await fill(new MemoryStore(), layout);
    const objects = await fill(new MemoryStore(), layout);
    await updateRepository(openLayout(objects), { repository: "team/app", changes: [{ op: "remove", tag: "1" }] });
    await collectGarbage(openLayout(objects), {});
    let isDeleted = false;
    const to = decorate(objects, {
      async *list(prefix, options) {
        yield* objects.list(prefix, options);
        if (prefix !== "blobs/" || isDeleted) return;
        isDeleted = true;
        await collectGarbage(openLayout(objects, undefined, clockAfter(25 * hour)), {});
      },
    });
    const { failures } = await copyBetween(from, to);
    expect({ failures, isDeleted }).toEqual({ failures: [], isDeleted: true });
    expect(await imagesOf(objects)).toEqual(await imagesOf(from));
    await expectWhole(objects);
  });

  it("lets a store that can copy do so, and streams only from another kind of source", async () => {
    const from = await fill(new MemoryStore(), one, two);
    const to = copying(new MemoryStore());
    const { blobs } = await copyBetween(from, to, { sourceStore: from, mode: "server", verify: true });
    expect(blobs.copiedByStore).toEqual({ blobs: 4, bytes: expect.any(Number) as unknown }); // not the manifests
    expect(to.copies).toHaveLength(4);
    const streamed = copying(new MemoryStore());
    await copyBetween(from, streamed, { sourceStore: from, mode: "stream" });
    expect(streamed.copies).toEqual([]);
    await expectWhole(streamed);
  });

  it("replaces a damaged object by a copy of the store, also if it may not stream", async () => {
    const from = await fill(new MemoryStore(), two);
    const to = copying(new MemoryStore());
    await openLayout(to).store.put(blobKey(sha256(shared)), Buffer.from("cut short"));
    expect((await copyBetween(from, to, { sourceStore: from, mode: "server" })).failures).toEqual([]);
    await expectWhole(to);
  });

  it("reads the source through one source for all images", async () => {
    const from = await fill(new MemoryStore(), one, two);
    const source = new LayoutSource(openLayout(from));
    const to = new MemoryStore();
    await copyBetween(source, to);
    expect(await imagesOf(to)).toEqual(await imagesOf(from));
  });
});
