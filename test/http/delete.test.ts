import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import type { Digest } from "../../src/digest.ts";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { type Layout, type TestDescriptor, makeLayout, tarOf, types } from "../support/layout.ts";
import { decorate, keysOf } from "../support/loading.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const image = makeLayout({ label: "one" });
const other = makeLayout({ label: "other" });
const multi = makeLayout({ platforms: ["linux/amd64", "linux/arm64"] });
const [amd64 = "sha256:", arm64 = "sha256:"] = multi.manifests;
const unknown = sha256(Buffer.from("nothing"));

let store: CountingStore;
let app: Hono;
let log: string[];
beforeEach(() => {
  store = new CountingStore(new MemoryStore());
  log = [];
  app = serve();
});

function serve(options: Partial<AppOptions> = {}): Hono {
  return createApp({ layout: openLayout(store), access: "anyone", report: notesIn(() => log), ...options });
}

async function load(layout: Layout, name: string): Promise<void> {
  const response = await app.request(`/v1/load/${name}`, { method: "PUT", body: await tarOf(layout) });
  expect(response.status).toBeLessThan(300);
}

async function remove(reference: string, init: RequestInit & { readonly name?: string } = {}): Promise<Response> {
  return app.request(`/v2/${init.name ?? "team/app"}/manifests/${reference}`, { method: "DELETE", ...init });
}

/** The statuses of GET and HEAD by each reference. */
async function statusesOf(...references: readonly string[]): Promise<number[]> {
  const statuses: number[] = [];
  for (const reference of references) {
    const path = `/v2/team/app/manifests/${reference}`;
    const [get, head] = [await app.request(path), await app.request(path, { method: "HEAD" })];
    expect(head.status).toBe(get.status);
    statuses.push(get.status);
  }
  return statuses;
}

async function tags(): Promise<unknown> {
  return ((await (await app.request("/v2/team/app/tags/list")).json()) as { tags: unknown }).tags;
}

async function expectError(response: Response, status: number, code: string, message?: RegExp): Promise<void> {
  expect(await response.json()).toMatchObject({
    errors: [{ code, ...(message && { message: expect.stringMatching(message) }) }],
  });
  expect(response.status).toBe(status);
}

describe("DELETE of a tag", () => {
  it("removes the tag alone, at once", async () => {
    await load(image, "team/app:1");
    await load(image, "team/app:2");
    const response = await remove("1");
    expect(response.status).toBe(202);
    expect(response.headers.get("Docker-Content-Digest")).toBe(image.digest);
    expect(await response.text()).toBe("");
    expect(await statusesOf("1", "2", image.digest)).toEqual([404, 200, 200]);
    expect(await tags()).toEqual(["2"]);
    expect(log.at(-1)).toBe(`anyone deleted team/app:1 (${image.digest})`);
  });

  it("of the last one leaves a repository with an empty list, and the manifest to be deleted", async () => {
    await load(image, "team/app:1");
    expect((await remove("1")).status).toBe(202);
    expect(await tags()).toEqual([]);
    expect(await statusesOf(image.digest)).toEqual([200]);
    expect((await remove(image.digest)).status).toBe(202);
    expect(await statusesOf(image.digest)).toEqual([404]);
  });

  it.each(["manifests", "manifests-1", "a.b_C-9"])("finds the tag %s", async (tag) => {
    await load(image, `team/app:${tag}`);
    expect((await remove(tag)).status).toBe(202);
    expect(await tags()).toEqual([]);
  });
});

describe("DELETE of a digest", () => {
  it("removes the manifest with all its tags, and nothing else", async () => {
    for (const name of ["team/app:1", "team/app:2", "other/app:1"]) await load(image, name);
    await load(other, "team/app:3");
    expect((await remove(image.digest)).status).toBe(202);
    expect(await statusesOf("1", "2", image.digest, "3", other.digest)).toEqual([404, 404, 404, 200, 200]);
    expect(await tags()).toEqual(["3"]);
    expect((await app.request(`/v2/other/app/manifests/${image.digest}`)).status).toBe(200);
  });

  it("deletes no blob: other repositories may need it", async () => {
    await load(image, "team/app:1");
    const blobs = await keysOf(store, "blobs/");
    await remove(image.digest);
    expect(await keysOf(store, "blobs/")).toEqual(blobs);
  });

  it("is undone by another load", async () => {
    await load(image, "team/app:1");
    await remove(image.digest);
    await load(image, "team/app");
    expect(await statusesOf("1", image.digest)).toEqual([404, 200]);
  });

  it("removes an image without a tag", async () => {
    await load(image, "team/app");
    expect((await remove(image.digest)).status).toBe(202);
    expect(await statusesOf(image.digest)).toEqual([404]);
  });
});

describe("DELETE of a part of an index", () => {
  beforeEach(async () => load(multi, "team/app:multi"));

  it("is refused while the index is there, and says which it is", async () => {
    const message = new RegExp(`^Cannot delete "${amd64}" from "team/app": it is a part of "team/app:multi", `);
    await expectError(await remove(amd64), 400, "UNSUPPORTED", message);
    expect(await statusesOf("multi", amd64, arm64)).toEqual([200, 200, 200]);
  });

  it("works once the index is gone", async () => {
    expect((await remove(multi.digest)).status).toBe(202);
    expect(await statusesOf(amd64)).toEqual([200]);
    for (const digest of multi.manifests) {
      expect((await remove(digest)).status).toBe(202);
      expect(await statusesOf(digest)).toEqual([404]);
      await expectError(await remove(digest), 404, "MANIFEST_UNKNOWN");
    }
  });

  it("takes the tags that it has of its own, and leaves the index whole", async () => {
    await load({ ...multi, roots: [partOf(multi, amd64)] }, "team/app:amd64");
    expect(await tags()).toEqual(["amd64", "multi"]);
    expect((await remove(amd64)).status).toBe(202);
    expect(await statusesOf("amd64", "multi", amd64)).toEqual([404, 200, 200]);
    expect((await remove(multi.digest)).status).toBe(202);
    expect(await statusesOf(amd64, arm64)).toEqual([404, 200]);
  });

  it("finds it at any depth", async () => {
    const outer = indexOf(indexOf(multi));
    await remove(multi.digest);
    await remove(amd64);
    await load(outer, "team/app:outer");
    expect(await statusesOf(amd64, multi.digest)).toEqual([200, 200]);
    await expectError(await remove(amd64), 400, "UNSUPPORTED", /it is a part of "team\/app:outer"/);
    expect((await remove(outer.digest)).status).toBe(202);
    expect(await statusesOf(amd64, multi.digest)).toEqual([404, 404]);
  });

  it("looks at what the repository itself has, not at others", async () => {
    await load(multi, "other/app:multi");
    await remove(multi.digest);
    expect((await remove(amd64)).status).toBe(202);
    expect(await statusesOf(amd64)).toEqual([404]);
    expect((await app.request(`/v2/other/app/manifests/${amd64}`)).status).toBe(200);
  });

  it("reads no index for the sake of a manifest that was never removed", async () => {
    await load(other, "team/app:other");
    await remove(other.digest);
    const before = store.requests.get;
    expect((await app.request(`/v2/team/app/manifests/${amd64}`)).status).toBe(200);
    expect(store.requests.get - before).toBe(2); // the repository's index, the manifest
  });

  it("does not take a store that fails for an answer", async () => {
    await remove(multi.digest);
    await remove(amd64);
    await load(multi, "team/app:multi");
    expect(await statusesOf(amd64)).toEqual([200]);
    const failing = decorate(store, {
      get: async (key, options) => {
        if (key.endsWith(multi.digest.slice("sha256:".length))) throw new Error("lost");
        return store.get(key, options);
      },
    });
    app = serve({ layout: openLayout(failing) });
    expect(await statusesOf(amd64)).toEqual([500]);
  });
});

describe("DELETE of what is not there", () => {
  beforeEach(async () => load(image, "team/app:1"));

  it.each([
    ["a tag", "team/app", "2", "MANIFEST_UNKNOWN"],
    ["a digest", "team/app", unknown, "MANIFEST_UNKNOWN"],
    ["a layer's digest", "team/app", image.layers[0] ?? "", "MANIFEST_UNKNOWN"],
    ["a digest of another algorithm", "team/app", `sha512:${"0".repeat(128)}`, "MANIFEST_UNKNOWN"],
    ["what is no reference", "team/app", "sha256:baddigeststring", "MANIFEST_UNKNOWN"],
    ["a tag of no repository", "unknown/app", "1", "NAME_UNKNOWN"],
    ["a digest of no repository", "unknown/app", image.digest, "NAME_UNKNOWN"],
  ])("answers 404 to %s and writes nothing", async (_, name, reference, code) => {
    const before = store.requests.put;
    await expectError(await remove(reference, { name }), 404, code);
    expect(store.requests.put).toBe(before);
    expect(await keysOf(store, "repositories/unknown")).toEqual([]);
  });

  it("answers 404 the second time", async () => {
    await remove("1");
    await expectError(await remove("1"), 404, "MANIFEST_UNKNOWN");
    await remove(image.digest);
    await expectError(await remove(image.digest), 404, "MANIFEST_UNKNOWN");
  });

  it("answers one of several that delete the same at the same time with 202", async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(async () => remove("1")));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([202, 404, 404, 404]);
  });

  it("answers 400 to a name that is none", async () => {
    await expectError(await remove("1", { name: "Team/App" }), 400, "NAME_INVALID");
  });
});

describe("DELETE with If-Match", () => {
  beforeEach(async () => load(image, "team/app:1"));

  it.each([
    ["the tag", "1"],
    ["the digest", image.digest],
  ])("deletes by %s what the condition names", async (_, reference) => {
    await expectError(
      await remove(reference, { headers: { "If-Match": `"${other.digest}"` } }),
      412,
      "CONDITION_FAILED",
      new RegExp(`found ${image.digest} there, expected ${other.digest}$`),
    );
    expect(await statusesOf("1", image.digest)).toEqual([200, 200]);
    expect((await remove(reference, { headers: { "If-Match": `"${image.digest}"` } })).status).toBe(202);
    expect(await statusesOf("1")).toEqual([404]);
  });

  it("answers 404 where there is nothing, whatever the condition", async () => {
    await expectError(await remove("2", { headers: { "If-Match": `"${image.digest}"` } }), 404, "MANIFEST_UNKNOWN");
  });

  it.each([
    { "If-Match": image.digest },
    { "If-Match": "*" },
    { "If-Match": '"1"' },
    { "If-Match": `W/"${image.digest}"` },
    { "If-Match": `"${image.digest}", "${other.digest}"` },
    { "If-None-Match": `"${image.digest}"` },
    { "If-Match": `"${image.digest}"`, "If-None-Match": "*" },
  ] as Record<string, string>[])("refuses conditions that it does not know: %j", async (headers) => {
    await expectError(
      await remove("1", { headers }),
      400,
      "INPUT_INVALID",
      /expected If-Match: "sha256:…", with its quotes, or/,
    );
    expect(await statusesOf("1")).toEqual([200]);
  });
});

describe("DELETE and who may", () => {
  const tokens = [
    tokenOf("cleaner", { actions: ["delete"], repositories: ["team/*"] }),
    tokenOf("loader", { actions: ["pull", "load"] }),
  ];
  const as = (name: string): RequestInit => ({ headers: { Authorization: `Bearer secret-of-${name}` } });

  beforeEach(async () => {
    for (const name of ["team/app:1", "other/app:1"]) await load(image, name);
    app = serve({ access: { tokens, anonymousPull: true } });
  });

  it("lets tokens delete that allow it, in their repositories", async () => {
    await expectError(await remove("1"), 401, "UNAUTHORIZED", /^Cannot delete without a token/);
    await expectError(
      await remove("1", as("loader")),
      403,
      "DENIED",
      /^Cannot delete from "team\/app": the token "loader"/,
    );
    await expectError(await remove("1", { ...as("cleaner"), name: "other/app" }), 403, "DENIED");
    expect(await statusesOf("1")).toEqual([200]);
    expect((await remove("1", as("cleaner"))).status).toBe(202);
    expect(log.at(-1)).toMatch(/^cleaner deleted team\/app:1 /);
  });

  it("refuses pages of other sites", async () => {
    app = serve();
    await expectError(await remove("1", { headers: { "Sec-Fetch-Site": "cross-site" } }), 403, "DENIED");
    expect(await statusesOf("1")).toEqual([200]);
  });
});

/** One of the manifests of an index, by itself. */
function partOf({ blobs }: Layout, digest: Digest): TestDescriptor {
  return { mediaType: types.manifest, digest, size: blobs.get(digest)?.length ?? 0 };
}

/** An index that names an index. */
function indexOf({ blobs, digest, ...layout }: Layout): Layout {
  const descriptor = { mediaType: types.index, digest, size: blobs.get(digest)?.length ?? 0 };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests: [descriptor] }));
  const root = { mediaType: types.index, digest: sha256(bytes), size: bytes.length };
  return { ...layout, digest: root.digest, roots: [root], blobs: new Map([...blobs, [root.digest, bytes]]) };
}

function tokenOf(name: string, rights: Partial<Token>): Token {
  const digest = sha256(Buffer.from(`secret-of-${name}`)).slice("sha256:".length);
  return { name, sha256: digest, actions: [], repositories: ["**"], ...rights };
}
