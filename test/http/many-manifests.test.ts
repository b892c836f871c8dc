/** Short requests that make the service read many manifests: how many it reads at once, and who is served meanwhile. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey } from "../../src/layout/keys.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { sha256 } from "../support/bytes.ts";
import { makeLayout, types } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const image = makeLayout();
const [subject] = image.roots;
const token = {
  name: "ci",
  sha256: sha256(Buffer.from("secret")).slice(7),
  actions: ["pull"],
  repositories: ["**"],
} as const;
const asToken = { headers: { Authorization: "Bearer secret" } };

let store: MemoryStore;
let app: Hono;
/** Reads of blobs that are under way, and the most that were so at once. */
let reads: { now: number; most: number };
beforeEach(() => {
  store = new MemoryStore();
  reads = { now: 0, most: 0 };
  const get: ObjectStore["get"] = async (key, options) => {
    if (!key.startsWith("blobs/")) return store.get(key, options);
    reads.most = Math.max(reads.most, ++reads.now);
    await new Promise((resolve) => void setImmediate(resolve));
    reads.now--;
    return store.get(key, options);
  };
  app = createApp({ layout: openLayout(decorate(store, { get })), access: { tokens: [token], anonymousPull: true } });
});

/** Stores manifests, and names them in the repository. */
async function publish(count: number, manifestOf: (i: number) => object): Promise<void> {
  const changes: SetChange[] = [];
  for (let i = 0; i < count; i++) {
    const manifest = manifestOf(i) as { mediaType: string };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const digest = sha256(bytes);
    await store.put(blobKey(digest), bytes);
    const common = { digest, size: bytes.length, mediaType: manifest.mediaType };
    changes.push({ op: "set", tag: `t${i}`, subject: subject?.digest, ...common });
  }
  await updateRepository(openLayout(store), { repository: "team/app", changes });
}

const referrers = (padding: number) => (i: number) => ({
  schemaVersion: 2,
  mediaType: types.manifest,
  artifactType: "application/x.signature",
  config: { mediaType: "application/vnd.oci.empty.v1+json", digest: sha256(Buffer.from("{}")), size: 2 },
  layers: [],
  subject,
  annotations: { n: `${i}`.padEnd(padding, "x") },
});

async function statuses(count: number, path: string): Promise<readonly number[]> {
  const answers = Array.from({ length: count }, async () => {
    const response = await app.request(path);
    await response.arrayBuffer();
    return response.status;
  });
  return Promise.all(answers);
}

describe("many requests for the referrers of an image", () => {
  const path = `/v2/team/app/referrers/${subject?.digest}`;

  it("read few manifests at a time", async () => {
    await publish(50, referrers(10));
    expect(new Set(await statuses(50, path))).toEqual(new Set([200]));
    expect(reads.most).toBeLessThanOrEqual(32);
  });

  it("read few large pages at a time, and do not make another caller wait for all of them", async () => {
    await publish(50, referrers(40_000));
    let finished = 0;
    const crowd = Array.from({ length: 40 }, async () => {
      const response = await app.request(path);
      await response.arrayBuffer();
      finished++;
    });
    const other = await app.request(path, asToken);
    expect(((await other.json()) as { manifests: unknown[] }).manifests).toHaveLength(50);
    expect(finished).toBeLessThan(20);
    await Promise.all(crowd);
    expect(reads.most).toBeLessThanOrEqual(32);
  });
});

describe("many requests for a manifest that was removed", () => {
  it("read few of the indexes that could hold it at a time", async () => {
    const gone = sha256(Buffer.from("gone"));
    const index = (i: number) => ({
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [subject],
      annotations: { n: `${i}` },
    });
    await publish(40, index);
    await updateRepository(openLayout(store), {
      repository: "team/app",
      changes: [{ op: "set", tag: "x", digest: gone, size: 2, mediaType: types.manifest }],
    });
    await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", digest: gone }] });
    expect(new Set(await statuses(50, `/v2/team/app/manifests/${gone}`))).toEqual(new Set([404]));
    expect(reads.most).toBeGreaterThan(0);
    expect(reads.most).toBeLessThanOrEqual(32);
  });
});
