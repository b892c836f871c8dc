/** Layers of a docker-archive that are staged: nothing of them is left but the blob, whatever happens. */
import { beforeEach, describe, expect, it } from "vitest";
import { blobKey } from "../../src/layout/keys.ts";
import { probeStore } from "../../src/layout/probe-store.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { chunksOf, randomBytes, sha256, stallAfter } from "../support/bytes.ts";
import { expectedManifest, makeDockerArchive, packEntries } from "../support/docker-archive.ts";
import { bytesAt, decorate, keysOf, loadBytes, loadEntries, watchPuts } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder } from "../support/run-stowage.ts";

/** Layers larger than this are staged. */
const partBytes = 1000;
const small = randomBytes(100, 1);
const large = randomBytes(5000, 2);

let store: MemoryStore;
beforeEach(async () => {
  store = new MemoryStore({ partBytes });
  await probeStore(store); // else the first load's own probe, which outlives it, could be found under staging/
});

async function expectNothingPublished(): Promise<void> {
  expect((await keysOf(store)).filter((key) => key.endsWith("index.json"))).toEqual([]);
  expect(await keysOf(store, "staging/")).toEqual([]);
}

describe("loadArchive, of a layer that is staged", () => {
  const archive = makeDockerArchive("crane legacy", { layers: [large] });
  const key = blobKey(sha256(large));

  it("leaves one that is present as it is, and replaces a damaged one", async () => {
    await store.put(key, large);
    const before = await store.head(key);
    expect((await loadEntries(archive, store)).blobs).toContainEqual({
      digest: sha256(large),
      size: 5000,
      status: "present",
    });
    expect(await store.head(key)).toEqual(before);
    await store.put(key, small);
    expect((await loadEntries(archive, store)).blobs).toContainEqual({
      digest: sha256(large),
      size: 5000,
      status: "repaired",
    });
    expect(sha256(await bytesAt(store, key))).toBe(sha256(large));
    expect(await keysOf(store, "staging/")).toEqual([]);
  });

  it.each(["write", "copy", "head"] as const)("leaves nothing staged when %s fails", async (method) => {
    const failing = decorate(store, { [method]: () => Promise.reject(new Error("the disk is on fire")) });
    await expect(loadEntries(archive, failing)).rejects.toThrow("the disk is on fire");
    await expectNothingPublished();
  });

  it("leaves nothing staged when an answer is lost", async () => {
    const forgetful = decorate(store, {
      write: async (...args) => {
        await store.write(...args);
        throw new Error("no answer came");
      },
    });
    await expect(loadEntries(archive, forgetful)).rejects.toThrow("no answer came");
    await expectNothingPublished();
  });

  it("leaves nothing staged when the sender falls silent and the load is ended", async () => {
    const controller = new AbortController();
    const bytes = (await packEntries(archive)).subarray(0, 4000);
    const loading = loadBytes(stallAfter(bytes), store, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error("the service stops")), 20);
    await expect(loading).rejects.toThrow("the service stops");
    await expectNothingPublished();
  });

  it("becomes a blob by no more memory than the budget has, where the store cannot copy by itself", async () => {
    let [underWay, most] = [0, 0];
    const slow = decorate(store, {
      copyBufferBytes: () => 6_000,
      copy: async (...args) => {
        most = Math.max(most, ++underWay);
        await new Promise((resolve) => setTimeout(resolve, 5));
        underWay--;
        return store.copy(...args);
      },
    });
    const layers = Array.from({ length: 6 }, (_, i) => randomBytes(5_000, 10 + i));
    const layout = openLayout(slow, { maxBufferBytes: 10_000 });
    const { budget } = layout;
    await loadArchive(layout, chunksOf(await packEntries(makeDockerArchive("crane legacy", { layers })), 333));
    expect(most).toBe(1);
    (await budget.take(budget.maxBytes, { signal: new AbortController().signal }))(); // all of it has been given back
  });

  it("is none of the load's business if it cannot be deleted: it expires", async () => {
    const clinging = decorate(store, { delete: () => Promise.reject(new Error("no")) });
    expect((await loadEntries(archive, clinging)).images).toHaveLength(1);
    expect(await keysOf(store, "staging/")).toHaveLength(1);
  });

  it("holds no more at once than its budget", async () => {
    const layers = Array.from({ length: 60 }, (_, i) => randomBytes(i % 2 === 0 ? 900 : 2500, i));
    const held = watchPuts(store);
    const many = makeDockerArchive("docker", { layers });
    await loadEntries(many, held.store, { limits: { maxBufferBytes: 4000 } });
    expect(held.mostBytes).toBeGreaterThan(900);
    expect(held.mostBytes).toBeLessThanOrEqual(4000);
    await expect(loadEntries(many, store, { limits: { maxBufferBytes: 800 } })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
  });

  it("is in the store once, on a directory", { timeout: 60_000 }, async () => {
    await expectStagedOnce(new DirectoryStore(await newFolder()));
  });
});

await describeS3Servers("loadArchive, of a layer that is staged", (server) => {
  it("is in the store once", { timeout: 60_000 }, async () => {
    await expectStagedOnce(await makeS3Store(server, { copyBytes: 6 * 1024 * 1024 }));
  });
});

/** Two layers larger than a part, of which one comes twice, and a small one. */
async function expectStagedOnce(objects: ObjectStore): Promise<void> {
  const [a, b] = [objects.partBytes + 1, objects.partBytes + 2_000_000].map((size) => randomBytes(size, size));
  if (a === undefined || b === undefined) throw new Error("expected two layers");
  const twice = { layers: [a, b, small, a], repoTags: ["app:1"] };
  const archive = makeDockerArchive("crane legacy", twice);
  const { images, blobs, requests } = await loadEntries(archive, objects, { chunkBytes: 65_536 });
  expect(images).toMatchObject([{ digest: sha256(expectedManifest("crane legacy", twice)), status: "created" }]);
  expect(blobs.map(({ status }) => status)).toEqual(Array(5).fill("written"));
  expect(requests.delete).toBe(3);
  for (const bytes of [a, b]) expect(sha256(await bytesAt(objects, blobKey(sha256(bytes))))).toBe(sha256(bytes));
  expect(await keysOf(objects, "staging/")).toEqual([]);
  const again = await loadEntries(archive, objects, { chunkBytes: 65_536 });
  expect(again.blobs.map(({ status }) => status)).toEqual(Array(5).fill("present"));
  expect(again.requests.copy).toBe(0);
  expect(await keysOf(objects, "staging/")).toEqual([]);
}
