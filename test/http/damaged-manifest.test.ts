import type { Hono } from "hono";
import { Buffer } from "node:buffer";
import { beforeEach, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, withoutBlob } from "../support/layout.ts";
import { bytesAt } from "../support/loading.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const layer = randomBytes(3000);
const image = makeLayout({ layers: [layer], name: "team/app:1" });
const index = makeLayout({ layers: [layer], name: "team/app:all", platforms: ["linux/amd64", "linux/arm64"] });

let store: MemoryStore;
let app: Hono;
let log: string[];
beforeEach(() => {
  store = new MemoryStore();
  log = [];
  app = createApp({ layout: openLayout(store), access: "anyone", report: notesIn(() => log) });
});

async function load(layout: Layout): Promise<Response> {
  return app.request("/v1/load?verbose=true", { method: "PUT", body: await tarOf(layout) });
}

/** Flips a bit of what the store has under a digest: the size of a layer, say, becomes another number. */
async function flipBit(digest: Digest): Promise<void> {
  const bytes = await bytesAt(store, blobKey(digest));
  const at = bytes.indexOf('"size":') + '"size":'.length;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await store.put(blobKey(digest), bytes);
}

async function errorOf(response: Response): Promise<unknown> {
  const { errors } = (await response.json()) as { errors: unknown[] };
  return errors[0];
}

describe("a damaged manifest", () => {
  it.each(["1", image.digest])("is not served as %s: 503 and a line in the log with its digest", async (reference) => {
    await load(image);
    await flipBit(image.digest);
    log = [];
    const path = `/v2/team/app/manifests/${reference}`;
    const response = await app.request(path);
    expect(response.status).toBe(503);
    expect(response.headers.get("Docker-Content-Digest")).toBeNull();
    expect(await errorOf(response)).toMatchObject({ code: "STORE_DAMAGED", detail: { digest: image.digest } });
    expect(log.join("\n")).toContain(`STORE_DAMAGED: Cannot read blob "${image.digest}"`);
    expect((await app.request(path, { method: "HEAD" })).status).toBe(503);
  });

  it("below an index is not served either", async () => {
    await load(index);
    const [child = "sha256:"] = index.manifests;
    await flipBit(child);
    expect((await app.request(`/v2/team/app/manifests/${child}`)).status).toBe(503);
    expect((await app.request("/v2/team/app/manifests/all")).status).toBe(200);
  });

  it.each([
    ["of an image", image, image.digest],
    ["of an index", index, index.digest],
    ["below an index", index, index.manifests[1] ?? "sha256:"],
  ])("%s is written again by a plain load of the same tarball", async (_, layout, digest) => {
    await load(layout);
    await flipBit(digest);
    const response = await load(layout);
    expect(response.status).toBe(201);
    const { blobs } = (await response.json()) as Receipt;
    expect(blobs.filter(({ status }) => status === "repaired").map((blob) => blob.digest)).toEqual([digest]);
    expect(blobs.filter(({ status }) => status === "written")).toEqual([]);
    const pulled = await app.request(`/v2/team/app/manifests/${digest}`);
    expect(pulled.status).toBe(200);
    expect(sha256(new Uint8Array(await pulled.arrayBuffer()))).toBe(digest);
  });

  it("is not taken for whole by a load that leaves it out", async () => {
    await load(index);
    const [child = "sha256:"] = index.manifests;
    await flipBit(child);
    const response = await load(withoutBlob(index, child));
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: "STORE_DAMAGED", detail: { digest: child } });
  });

  it("of a referrer is listed by what the index says of it alone", async () => {
    const subject = { mediaType: image.roots[0]?.mediaType ?? "", digest: image.digest, size: 1000 };
    const signature = makeLayout({
      layers: [Buffer.from("signed")],
      subject,
      manifest: { artifactType: "application/vnd.example", annotations: { size: "1" } },
    });
    await load(image);
    await app.request("/v1/load/team/app", { method: "PUT", body: await tarOf(signature) });
    await flipBit(signature.digest);
    const listed = await app.request(`/v2/team/app/referrers/${image.digest}`);
    const { manifests } = (await listed.json()) as { manifests: object[] };
    expect(manifests.map((entry) => Object.keys(entry).toSorted())).toEqual([
      ["artifactType", "digest", "mediaType", "size"],
    ]);
  });

  it("keeps gc from telling what is needed", async () => {
    await load(image);
    await flipBit(image.digest);
    await expect(collectGarbage(openLayout(store))).rejects.toMatchObject({
      code: "STORE_DAMAGED",
      message: expect.stringContaining(image.digest) as unknown,
    });
  });
});
