import { beforeEach, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf, randomBytes, sha256 } from "../support/bytes.ts";
import { makeDockerArchive } from "../support/docker-archive.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { bytesAt, keysOf, loadBytes, loadEntries } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const [small, large] = [randomBytes(300), randomBytes(5000)];
const image = makeLayout({ layers: [small, large], name: "team/app:1" });
const digests = [...image.blobs.keys()];

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore({ partBytes: 400 });
});

async function flipBit(digest: Digest): Promise<void> {
  const bytes = await bytesAt(store, blobKey(digest));
  bytes[50] = (bytes[50] ?? 0) ^ 1;
  await store.put(blobKey(digest), bytes);
}

async function load(repair?: boolean): ReturnType<typeof loadBytes> {
  return loadBytes(chunksOf(await tarOf(image), 333), store, { repair });
}

async function expectIntact(): Promise<void> {
  for (const key of await keysOf(store, "blobs/")) {
    expect(sha256(await bytesAt(store, key))).toBe(`sha256:${key.slice("blobs/sha256/".length)}`);
  }
}

describe("loadArchive, told to repair", () => {
  it.each(digests.map((digest, i) => [["small layer", "large layer", "config", "manifest"][i], digest] as const))(
    "writes a damaged %s again, and nothing else",
    async (_, digest) => {
      await load();
      await flipBit(digest);
      const { blobs, images } = await load(true);
      expect(blobs.map((blob) => [blob.digest, blob.status])).toEqual(
        digests.map((each) => [each, each === digest ? "repaired" : "present"]),
      );
      expect(images).toMatchObject([{ status: "unchanged" }]);
      await expectIntact();
    },
  );

  it("writes a damaged layer again that is staged", async () => {
    const archive = makeDockerArchive("crane legacy", { layers: [large] });
    await loadEntries(archive, store);
    await flipBit(sha256(large));
    const before = await loadEntries(archive, store);
    expect(before.blobs.find(({ digest }) => digest === sha256(large))?.status).toBe("present");
    const { blobs } = await loadEntries(archive, store, { repair: true });
    expect(blobs.find(({ digest }) => digest === sha256(large))?.status).toBe("repaired");
    await expectIntact();
    expect(await keysOf(store, "staging/")).toEqual([]);
  });

  it("reads no blob but manifests without it", async () => {
    await load();
    await flipBit(sha256(large));
    const { blobs, requests } = await load(false);
    expect(new Set(blobs.map(({ status }) => status))).toEqual(new Set(["present"]));
    expect(requests.get).toBe(2); // the manifest, and the index
  });
});

describe("PUT /v1/load?repair=true", () => {
  it("writes a damaged blob again, and says so", async () => {
    await load();
    await flipBit(sha256(small));
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const body = await tarOf(image);
    const response = await app.request("/v1/load/team/app:1?repair=true&verbose=true", { method: "PUT", body });
    expect(response.status).toBe(201);
    expect(await response.json()).toMatchObject({ blobs: [{ digest: sha256(small), status: "repaired" }, {}, {}, {}] });
    await expectIntact();
  });

  it("refuses what is neither true nor false", async () => {
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const response = await app.request("/v1/load?repair=yes", { method: "PUT", body: await tarOf(image) });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ errors: [{ code: "INPUT_INVALID" }] });
    expect(await keysOf(store)).toEqual([]);
  });
});
