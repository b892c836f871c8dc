import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { refNameAnnotation } from "../../src/oci/index-entry.ts";
import { isJsonObject } from "../../src/oci/json.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import {
  type Layout,
  type TestDescriptor,
  joinLayouts,
  makeLayout,
  tarOf,
  types,
  withBlob,
} from "../support/layout.ts";
import { bytesAt } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const image = makeLayout({ name: "team/app:1.4" });
const subject = rootOf(image);
const nowhere: Digest = `sha256:${"0".repeat(64)}`;

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore();
  app = createApp({ layout: openLayout(store), access: "anyone" });
});

/** The descriptor of a layout's first root, without a name. */
function rootOf({ roots }: Layout): TestDescriptor {
  const [root] = roots;
  if (root === undefined) throw new Error("expected a root");
  const { mediaType, digest, size } = root;
  return { mediaType, digest, size };
}

interface ReferrerOptions {
  readonly about?: TestDescriptor;
  /** Makes it another one. */
  readonly n?: number | string;
  readonly manifest?: Readonly<Record<string, unknown>>;
}

/** A layout of a manifest that says something about the image. */
function referrer({ about = subject, n = 1, manifest }: ReferrerOptions = {}): Layout {
  return makeLayout({ subject: about, manifest: { annotations: { n: `${n}` }, ...manifest } });
}

interface IndexOptions {
  readonly refName?: string;
  readonly subject?: TestDescriptor;
}

/** The layout below an index, which is its only root. */
function indexOf(layout: Layout, { refName, ...fields }: IndexOptions = {}): Layout {
  const annotations = refName === undefined ? {} : { annotations: { [refNameAnnotation]: refName } };
  const index = { schemaVersion: 2, mediaType: types.index, manifests: layout.roots, ...annotations, ...fields };
  const bytes = Buffer.from(JSON.stringify(index));
  const root = { mediaType: types.index, digest: sha256(bytes), size: bytes.length };
  return { ...withBlob(layout, bytes), roots: [{ ...root, ...annotations }], digest: root.digest };
}

async function load(layout: Layout, path = "/v1/load/team/app"): Promise<unknown> {
  const response = await app.request(path, { method: "PUT", body: await tarOf(layout) });
  expect(response.status).toBeLessThan(300);
  return response.json();
}

interface Listed {
  readonly manifests: readonly TestDescriptor[];
  readonly headers: Headers;
}

async function list(path: string): Promise<Listed> {
  const response = await app.request(path);
  expect(response.status).toBe(200);
  expect(response.headers.get("Content-Type")).toBe(types.index);
  const body = (await response.json()) as { manifests: TestDescriptor[] };
  expect(body).toEqual({ schemaVersion: 2, mediaType: types.index, manifests: expect.any(Array) as unknown });
  return { manifests: body.manifests, headers: response.headers };
}

async function digestsAbout(digest: Digest, repository = "team/app"): Promise<string[]> {
  return (await list(`/v2/${repository}/referrers/${digest}`)).manifests.map((found) => found.digest);
}

describe("GET /v2/<name>/referrers/<digest>", () => {
  it("finds one where the archive's own names put its subject, and what refers to it", async () => {
    const one = referrer();
    const other = referrer({ about: rootOf(one) });
    await load(joinLayouts(other, one, image, makeLayout({ name: "another:1", layers: [] })), "/v1/load");
    const path = "/v2/team/app/referrers";
    expect((await list(`${path}/${subject.digest}`)).manifests).toMatchObject([{ digest: one.digest }]);
    expect((await list(`${path}/${one.digest}`)).manifests).toMatchObject([{ digest: other.digest }]);
    expect((await list(`/v2/images/referrers/${subject.digest}`)).manifests).toEqual([]);
  });

  it("is empty for a subject and for a repository that nobody knows", async () => {
    expect((await list(`/v2/nobody/referrers/${nowhere}`)).manifests).toEqual([]);
    await load(image);
    expect((await list(`/v2/team/app/referrers/${image.digest}`)).manifests).toEqual([]);
    expect((await list(`/v2/team/app/referrers/sha512:${"0".repeat(128)}`)).manifests).toEqual([]);
  });

  it.each(["sha256:abc", `sha256:${"A".repeat(64)}`, "latest", "sha256:"])("refuses the digest %s", async (digest) => {
    const response = await app.request(`/v2/team/app/referrers/${digest}`);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ errors: [{ code: "DIGEST_INVALID" }] });
  });

  it("tells of each its type and its own annotations", async () => {
    const plain = referrer({ n: "plain" });
    const typed = referrer({ manifest: { artifactType: "a/thing", annotations: { é: "→" } } });
    const index = indexOf(referrer({ n: "a part" }), { subject });
    await load(joinLayouts(image, plain, typed, index));
    const { manifests, headers } = await list(`/v2/team/app/referrers/${image.digest}`);
    expect(headers.get("OCI-Filters-Applied")).toBeNull();
    expect(manifests).toHaveLength(4);
    expect(manifests).toEqual(
      expect.arrayContaining([
        { ...rootOf(plain), artifactType: types.config, annotations: { n: "plain" } },
        { ...rootOf(typed), artifactType: "a/thing", annotations: { é: "→" } },
        { mediaType: types.index, digest: index.digest, size: index.roots[0]?.size },
      ]),
    );
  });

  describe("with the index of a client that does not use the list", () => {
    const one = referrer();
    const extra = makeLayout({ label: "says nothing of a subject" });
    const told = { ...rootOf(extra), artifactType: "a/thing", annotations: { n: "told" } };
    const other = { ...rootOf(one), artifactType: "b/thing", annotations: { n: "other" } };
    const index = {
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [{ ...told, platform: { os: "linux", architecture: "arm64" } }, other, told],
    };
    const tag = image.digest.replace(":", "-");
    const path = `/v2/team/app/referrers/${image.digest}`;

    async function putIndex(body: string, reference = tag): Promise<number> {
      const headers = { "Content-Type": types.index };
      const answer = await app.request(`/v2/team/app/manifests/${reference}`, { method: "PUT", headers, body });
      return answer.status;
    }

    beforeEach(async () => {
      await load(joinLayouts(image, one, extra));
      expect(await putIndex(JSON.stringify(index))).toBe(201);
    });

    it("lists what that index names too, each once, and sends the client its own index", async () => {
      const own = { ...rootOf(one), artifactType: types.config, annotations: { n: "1" } };
      const { manifests } = await list(path);
      expect(manifests).toEqual([own, told].toSorted((a, b) => (a.digest < b.digest ? -1 : 1)));
      expect((await list(`${path}?artifactType=a/thing`)).manifests).toEqual([told]);
      expect((await list(`${path}?artifactType=b/thing`)).manifests).toEqual([]);
      const [first = told, last = told] = manifests;
      expect((await list(`${path}?last=${first.digest}`)).manifests).toEqual([last]);
      expect((await list(`/v2/other/referrers/${image.digest}`)).manifests).toEqual([]);
      const answer = await app.request(`/v2/team/app/manifests/${tag}`);
      expect(await answer.text()).toBe(JSON.stringify(index));
    });

    it("lists the others if that index is damaged", async () => {
      await store.put(blobKey(sha256(Buffer.from(JSON.stringify(index)))), Buffer.from("{"));
      expect((await list(path)).manifests).toMatchObject([{ digest: one.digest }]);
    });

    it("finds the tag of a longer digest", async () => {
      const hex = "ab".repeat(64);
      await putIndex(JSON.stringify(index), `sha512-${hex.slice(0, 64)}`);
      expect((await list(`/v2/team/app/referrers/sha512:${hex}`)).manifests).toHaveLength(2);
    });
  });

  it("filters by the type, and says so also where nothing is left", async () => {
    const typed = referrer({ manifest: { artifactType: "a/thing+json" } });
    const long = referrer({ manifest: { artifactType: `a/${"b".repeat(300)}` } });
    const index = indexOf(referrer({ n: "a part" }), { subject });
    await load(joinLayouts(image, typed, referrer(), long, index));
    const filtered = async (type: string): Promise<string[]> => {
      const path = `/v2/team/app/referrers/${image.digest}?artifactType=${encodeURIComponent(type)}`;
      const { manifests, headers } = await list(path);
      expect(headers.get("OCI-Filters-Applied")).toBe("artifactType");
      return manifests.map(({ digest }) => digest);
    };
    expect(await filtered("a/thing+json")).toEqual([typed.digest]);
    expect(await filtered(`a/${"b".repeat(300)}`)).toEqual([long.digest]);
    expect(await filtered("a/other")).toEqual([]);
    const byHand = await list(`/v2/team/app/referrers/${image.digest}?artifactType=a/thing+json`);
    expect(byHand.manifests.map(({ digest }) => digest)).toEqual([typed.digest]);
    const elsewhere = await list(`/v2/nobody/referrers/${nowhere}?artifactType=a/b`);
    expect(elsewhere.headers.get("OCI-Filters-Applied")).toBe("artifactType");
  });

  it("finds those that only indexes lead to, once each, and leaves the receipt to the images", async () => {
    const attestation = referrer({ n: "attestation" });
    const deep = referrer({ n: "deep" });
    const inner = indexOf(joinLayouts(deep, attestation));
    const outer = indexOf(joinLayouts(image, attestation, inner), { refName: "1.4" });
    expect(await load(outer)).toMatchObject({
      images: [{ reference: "1.4", digest: outer.digest, status: "created" }],
    });
    expect(await digestsAbout(image.digest)).toEqual([attestation.digest, deep.digest].toSorted());
    expect(await load(outer)).toMatchObject({ images: [{ status: "unchanged" }] });
  });

  it("finds them in each repository into which they were loaded, and in no other", async () => {
    const attestation = referrer();
    const image1 = indexOf(joinLayouts(image, attestation), { refName: "localhost/one:1" });
    const image2 = indexOf(joinLayouts(image, attestation, referrer({ n: 2 })), { refName: "localhost/two:1" });
    await load(joinLayouts(image1, image2), "/v1/load");
    expect(await digestsAbout(image.digest, "one")).toEqual([attestation.digest]);
    expect(await digestsAbout(image.digest, "two")).toHaveLength(2);
    expect(await digestsAbout(image.digest, "images")).toEqual([]);
  });

  it("takes up one entry of the index for each, with a type of a usual length", async () => {
    const signature = makeLayout({ subject, refName: "signature", manifest: { artifactType: "a/thing" } });
    const long = makeLayout({ subject, manifest: { artifactType: "b".repeat(300) } });
    await load(joinLayouts(signature, long), "/v1/load");
    const { manifests } = JSON.parse((await bytesAt(store, "index.json")).toString()) as { manifests: unknown };
    expect(manifests).toEqual([
      expect.objectContaining({ digest: signature.digest, artifactType: "a/thing" }),
      expect.not.objectContaining({ artifactType: expect.anything() as unknown }),
    ]);
  });

  it("finds those of a registry that kept them under a tag", async () => {
    const signature = referrer();
    const fallback = indexOf(signature, { refName: image.digest.replace(":", "-") });
    await load(joinLayouts(image, fallback));
    expect(await digestsAbout(image.digest)).toEqual([signature.digest]);
  });

  it("finds one whose subject is not there, and one about another referrer", async () => {
    const early = referrer({ about: { ...subject, digest: nowhere } });
    const signature = referrer({ about: rootOf(early) });
    await load(early);
    await load(signature);
    expect(await digestsAbout(nowhere)).toEqual([early.digest]);
    expect(await digestsAbout(early.digest)).toEqual([signature.digest]);
  });

  it("finds one again by its subject that was there without it", async () => {
    const signature = referrer();
    const { mediaType, digest, size } = rootOf(signature);
    await load(joinLayouts(image, signature));
    await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", digest }] });
    await updateRepository(openLayout(store), {
      repository: "team/app",
      changes: [{ op: "set", mediaType, digest, size }],
    });
    expect(await digestsAbout(image.digest)).toEqual([]);
    await load(signature);
    expect(await digestsAbout(image.digest)).toEqual([digest]);
  });

  it("does not find one that was removed, until it is loaded again", async () => {
    const attestation = referrer();
    const whole = indexOf(joinLayouts(image, attestation), { refName: "1.4" });
    await load(whole);
    await updateRepository(openLayout(store), {
      repository: "team/app",
      changes: [{ op: "remove", digest: attestation.digest }],
    });
    expect(await digestsAbout(image.digest)).toEqual([]);
    const answer = await app.request("/v1/load/team/app", { method: "PUT", body: await tarOf(whole) });
    expect(answer.status).toBe(201); // the load has changed the index
    expect(await answer.json()).toMatchObject({
      images: [{ status: "unchanged" }],
      totals: { referrers: 1, written: 0 },
    });
    expect(await digestsAbout(image.digest)).toEqual([attestation.digest]);
    expect((await app.request("/v1/load/team/app", { method: "PUT", body: await tarOf(whole) })).status).toBe(200);
  });

  it("lists one that the store has lost by what the index says of it", async () => {
    const signature = referrer({ manifest: { artifactType: "a/thing" } });
    await load(joinLayouts(image, signature));
    await store.delete(blobKey(signature.digest));
    const { manifests } = await list(`/v2/team/app/referrers/${image.digest}`);
    expect(manifests).toEqual([{ ...rootOf(signature), artifactType: "a/thing" }]);
  });

  it("pages long lists, and keeps the filter from page to page", async () => {
    const many = Array.from({ length: 230 }, (_, n) =>
      referrer({ n, manifest: { artifactType: n % 2 === 0 ? "a/even" : "a/odd" } }),
    );
    await load(joinLayouts(image, ...many));
    const pages = async (path: string): Promise<string[][]> => {
      const { manifests, headers } = await list(path);
      const next = /^<(.*)>; rel="next"$/.exec(headers.get("Link") ?? "")?.[1];
      return [manifests.map(({ digest }) => digest), ...(next === undefined ? [] : await pages(next))];
    };
    const all = await pages(`/v2/team/app/referrers/${image.digest}`);
    expect(all.map((page) => page.length)).toEqual([100, 100, 30]);
    expect(all.flat()).toEqual(many.map(({ digest }) => digest).toSorted());
    const even = await pages(`/v2/team/app/referrers/${image.digest}?artifactType=a%2Feven`);
    expect(even.map((page) => page.length)).toEqual([100, 15]);
  });

  it("ends a page before it is larger than clients read", async () => {
    const large = Array.from({ length: 3 }, (_, n) =>
      referrer({ manifest: { annotations: { n: `${n}`, text: "é".repeat(900_000) } } }),
    );
    await load(joinLayouts(image, ...large));
    const response = await app.request(`/v2/team/app/referrers/${image.digest}`);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(bytes.length).toBeLessThan(4 * 1024 * 1024);
    const body: unknown = JSON.parse(bytes.toString());
    expect(isJsonObject(body) && body["manifests"]).toHaveLength(2);
    const [, next = ""] = /^<(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "") ?? [];
    expect((await list(next)).manifests).toHaveLength(1);
  });

  it("refuses a load whose indexes name referrers in very many places", { timeout: 30_000 }, async () => {
    const signatures = joinLayouts(...Array.from({ length: 201 }, (_, n) => referrer({ n })));
    const indexes = Array.from({ length: 100 }, (_, n) => indexOf(signatures, { refName: `v${n}` }));
    const body = await tarOf(joinLayouts(...indexes));
    const response = await app.request("/v1/load/team/app", { method: "PUT", body });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ errors: [{ code: "LIMIT_EXCEEDED" }] });
    expect((await app.request("/v2/team/app/tags/list")).status).toBe(404);
  });

  it("is for whoever may pull from the repository", async () => {
    const closed = createApp({ layout: openLayout(store), access: { tokens: [], anonymousPull: false } });
    expect((await closed.request(`/v2/team/app/referrers/${image.digest}`)).status).toBe(401);
  });
});
