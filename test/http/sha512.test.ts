/** Images whose digests are of SHA-512: all of their parts, or some. Each goes in, and comes out as it was. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hono } from "hono";
import { afterEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes, sha256, sha512 } from "../support/bytes.ts";
import { checkPull, puller } from "../support/check-pull.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { packEntries } from "../support/docker-archive.ts";
import {
  type Layout,
  type LayoutOptions,
  filesOf,
  joinLayouts,
  makeLayout,
  tarOf,
  types,
  withBadBlob,
  withoutBlob,
} from "../support/layout.ts";
import { keysOf } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";
import { visibleState } from "../support/visible-state.ts";

/** Small, so that the large layer is streamed. */
const partBytes = 1000;
const [small, large] = [randomBytes(100), randomBytes(5000, 2)];
const make = (options: LayoutOptions): Layout =>
  makeLayout({ layers: [small, large], name: "docker.io/team/app:1.4", ...options });
const strong = make({ digest: sha512 });

const layouts: Readonly<Record<string, Layout>> = {
  "an image of SHA-512 alone": strong,
  "an index of SHA-512 alone": make({ digest: sha512, platforms: ["linux/amd64", "linux/arm64"] }),
  "layers of both": make({ digest: (bytes) => (bytes.length === large.length ? sha512 : sha256)(bytes) }),
  "a manifest of SHA-512": make({ digest: (bytes, part) => (part === "manifest" ? sha512 : sha256)(bytes) }),
  "an index of SHA-512": make({
    digest: (bytes, part) => (part === "index" ? sha512 : sha256)(bytes),
    platforms: ["linux/amd64", "linux/arm64"],
  }),
};

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

const stores: Readonly<Record<string, () => Promise<ObjectStore>>> = {
  memory: async () => new MemoryStore({ partBytes }),
  "a directory": async () => {
    const folder = await mkdtemp(join(tmpdir(), "stowage-sha512-"));
    folders.push(folder);
    return new DirectoryStore(folder);
  },
};

function appOn(store: ObjectStore): Hono {
  return createApp({ layout: openLayout(store), access: "anyone" });
}

async function load(app: Hono, body: Buffer): Promise<Receipt> {
  const response = await app.request("/v1/load?verbose=true", { method: "PUT", body: new Uint8Array(body) });
  expect(response.status, await response.clone().text()).toBeLessThan(300);
  return (await response.json()) as Receipt;
}

async function refusal(app: Hono, body: Buffer): Promise<unknown> {
  const response = await app.request("/v1/load", { method: "PUT", body: new Uint8Array(body) });
  return { status: response.status, ...((await response.json()) as object) };
}

async function exported(app: Hono, path: string): Promise<Buffer> {
  const response = await app.request(`/v1/export/${path}`);
  expect(response.status).toBe(200);
  const tarball = Buffer.from(await response.arrayBuffer());
  expect(response.headers.get("Content-Length")).toBe(String(tarball.length));
  expect(await compareReaders(tarball)).toBeUndefined();
  return tarball;
}

const blobKeys = ({ blobs }: Layout): string[] =>
  [...blobs.keys()].map((digest) => `blobs/${digest.replace(":", "/")}`).toSorted();

describe.each(Object.entries(stores))("digests of SHA-512, in %s", (_, open) => {
  it.each(Object.entries(layouts))("%s is loaded, pulled, exported, and loaded again", async (__, layout) => {
    const store = await open();
    const app = appOn(store);
    const { images, totals } = await load(app, await tarOf(layout));
    expect(images).toMatchObject([{ repository: "team/app", reference: "1.4", digest: layout.digest }]);
    expect(totals).toMatchObject({ written: layout.blobs.size, ignored: 0 });
    expect(await keysOf(store, "blobs/")).toEqual(blobKeys(layout));
    for (const image of images) await checkPull(image, puller(store));

    const tarball = await exported(app, "team/app:1.4");
    const second = await open();
    expect((await load(appOn(second), tarball)).images).toMatchObject([
      { repository: "team/app", reference: "1.4", digest: layout.digest, status: "created" },
    ]);
    expect(await keysOf(second, "blobs/")).toEqual(blobKeys(layout));
    expect((await exported(appOn(second), `team/app@${layout.digest}`)).length).toBeGreaterThan(0);
    expect((await exported(appOn(second), "team/app:1.4")).equals(tarball)).toBe(true);
  });

  it.each(["small", "large"] as const)("the wrong bytes of a %s blob are refused", async (size) => {
    const store = await open();
    const digest = sha512(size === "small" ? small : large);
    await load(appOn(store), await tarOf(makeLayout({ name: "docker.io/team/app:1.4", digest: sha512 })));
    const before = await visibleState(store);
    expect(await refusal(appOn(store), await tarOf(withBadBlob(strong, digest)))).toMatchObject({
      status: 400,
      errors: [{ code: "DIGEST_INVALID", detail: { digest } }],
    });
    expect(await visibleState(store)).toEqual(before);
  });
});

describe("digests of SHA-512", () => {
  it("are other digests: the same bytes can be two blobs", async () => {
    const store = new MemoryStore({ partBytes });
    const plain = make({ name: "docker.io/team/app:plain" });
    await load(appOn(store), await tarOf(joinLayouts(plain, strong)));
    expect(await keysOf(store, "blobs/")).toEqual([...blobKeys(plain), ...blobKeys(strong)].toSorted());
  });

  it("find the blobs of the store that a tarball leaves out", async () => {
    const app = appOn(new MemoryStore({ partBytes }));
    await load(app, await tarOf(strong));
    const next = make({ digest: sha512, label: "next", name: "docker.io/team/app:next" });
    const digests = [...next.blobs.keys()];
    const answer = await app.request("/v1/blobs/missing", { method: "POST", body: JSON.stringify({ digests }) });
    const { missing } = (await answer.json()) as { missing: string[] };
    expect(missing).toEqual(digests.filter((digest) => !next.layers.includes(digest)));
    const { images } = await load(app, await tarOf(withoutBlob(next, ...next.layers)));
    expect(images).toMatchObject([{ digest: next.digest, status: "created" }]);
  });

  it("fit into a question about 10,000 blobs", async () => {
    const digests = Array.from({ length: 10_000 }, (_, i) => sha512(Buffer.from(String(i))));
    const body = JSON.stringify({ digests });
    const answer = await appOn(new MemoryStore()).request("/v1/blobs/missing", { method: "POST", body });
    expect(await answer.json()).toMatchObject({ missing: digests });
  });

  it("name an image in conditions and in a deletion", async () => {
    const app = appOn(new MemoryStore({ partBytes }));
    await load(app, await tarOf(strong));
    const path = `/v2/team/app/manifests/${strong.digest}`;
    const head = await app.request(path, { method: "HEAD" });
    expect(Object.fromEntries(head.headers)).toMatchObject({
      "docker-content-digest": strong.digest,
      etag: `"${strong.digest}"`,
    });
    const next = await tarOf(make({ digest: sha512, label: "next" }));
    const put = async (digest: string): Promise<number> => {
      const init = { method: "PUT", body: new Uint8Array(next), headers: { "If-Match": `"${digest}"` } };
      return (await app.request("/v1/load/team/app:1.4", init)).status;
    };
    expect(await put(sha512(small))).toBe(412);
    expect(await put(strong.digest)).toBe(201);
    expect((await app.request(path, { method: "DELETE" })).status).toBe(202);
    expect((await app.request(path)).status).toBe(404);
    expect((await app.request("/v2/team/app/manifests/1.4")).status).toBe(200);
  });

  it("name the parts of a docker-archive", async () => {
    const config = strong.blobs.get([...strong.blobs.keys()].at(-2) ?? "sha512:") ?? Buffer.alloc(0);
    const hexOf = (bytes: Buffer): string => sha512(bytes).slice("sha512:".length);
    const paths = [`blobs/sha512/${hexOf(config)}`, `${hexOf(small)}.tar`, `x/sha512:${hexOf(large)}`];
    const [Config = "", ...Layers] = paths;
    const manifest = Buffer.from(JSON.stringify([{ Config, Layers, RepoTags: ["team/docker:1"] }]));
    const parts = [config, small, large].map((bytes, i) => ({ name: paths[i] ?? "", bytes }));
    const archive = (entries: readonly { readonly name: string; readonly bytes: Buffer }[]): Promise<Buffer> =>
      packEntries([...entries, { name: "manifest.json", bytes: manifest }]);

    const store = new MemoryStore({ partBytes });
    const app = appOn(store);
    const { images } = await load(app, await archive(parts));
    expect(images).toMatchObject([{ repository: "team/docker", reference: "1" }]);
    const pulled = await puller(store)("team/docker", "manifests/1");
    expect(JSON.parse(String(pulled))).toMatchObject({
      config: { digest: sha512(config) },
      layers: [{ digest: sha512(small) }, { digest: sha512(large) }],
    });
    expect(await load(app, await archive([]))).toMatchObject({ images: [{ status: "unchanged" }] });
    const wrong = parts.map((part, i) => (i === 1 ? { ...part, bytes: randomBytes(100, 3) } : part));
    expect(await refusal(app, await archive(wrong))).toMatchObject({ errors: [{ code: "DIGEST_INVALID" }] });
  });

  it("lead to referrers: by the subject, and by a tag with the first half of the hash", async () => {
    const { digest } = strong;
    const half = digest.slice("sha512:".length).slice(0, 64);
    const root = { mediaType: types.manifest, digest, size: strong.blobs.get(digest)?.length ?? 0 };
    const signature = makeLayout({ subject: root, label: "signature", digest: sha512 });
    const cosign = makeLayout({ label: "cosign", name: `docker.io/team/app:sha512-${half}.sig` });
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests: [] }));
    const app = appOn(new MemoryStore({ partBytes }));
    await load(app, await tarOf(joinLayouts(strong, signature, cosign)));
    const put = { method: "PUT", body: new Uint8Array(index), headers: { "Content-Type": types.index } };
    expect((await app.request(`/v2/team/app/manifests/sha512-${half}`, put)).status).toBe(201);

    const answer = await app.request(`/v2/team/app/referrers/${digest}`);
    expect(await answer.json()).toMatchObject({ manifests: [{ digest: signature.digest }] });
    const store = new MemoryStore();
    await load(appOn(store), await exported(app, "team/app:1.4?referrers=true"));
    for (const reference of [signature.digest, cosign.digest, `sha512-${half}.sig`, `sha512-${half}`]) {
      expect(await puller(store)("team/app", `manifests/${reference}`), reference).toBeDefined();
    }
  });

  it("give cosign's signatures a tag that registries allow", async () => {
    const kind = (what: string): Readonly<Record<string, string>> => ({ kind: `dev.cosignproject.cosign/${what}` });
    const named = (layout: Layout, what: string): Layout => ({
      ...layout,
      roots: layout.roots.map((root) => ({ ...root, annotations: { ...root.annotations, ...kind(what) } })),
    });
    const image = named(strong, "image");
    const signature = named(makeLayout({ label: "sig" }), "sigs");
    const { images } = await load(appOn(new MemoryStore({ partBytes })), await tarOf(joinLayouts(image, signature)));
    const tag = `${strong.digest.replace(":", "-").slice(0, "sha512-".length + 64)}.sig`;
    expect(images).toMatchObject([{ reference: "1.4" }, { reference: tag, digest: signature.digest }]);
  });

  it("are no reason to refuse what no image needs, nor is any other algorithm", async () => {
    const store = new MemoryStore({ partBytes });
    const unneeded = ["sha384", "sha512"].flatMap((algorithm) => [
      { name: `blobs/${algorithm}/x`, bytes: small },
      { name: `blobs/${algorithm}/${"0".repeat(96)}`, bytes: small },
    ]);
    const body = await packEntries([...unneeded, ...filesOf(strong)]);
    const { images, ignored } = await load(appOn(store), body);
    expect(images).toMatchObject([{ digest: strong.digest }]);
    expect(ignored.map(({ path }) => path).toSorted()).toEqual(unneeded.map(({ name }) => name).toSorted());
  });
});
