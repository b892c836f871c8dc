/** Repositories with very many tags, and very many repositories: what one answer holds, and what the store is asked for. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { indexKey, intentsPrefix } from "../../src/layout/keys.ts";
import type { SetChange } from "../../src/oci/index-change.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

const image = makeLayout({ name: "team/app:1.4" });
const { mediaType = "", digest = "sha256:", size = 0 } = image.roots[0] ?? {};

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

/** Points many tags at an image that nobody looks at. */
async function tagAll(repository: string, tags: readonly string[]): Promise<void> {
  const changes = tags.map((tag): SetChange => ({ op: "set", tag, mediaType, digest, size }));
  await updateRepository(openLayout(store), { repository, changes });
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i).padStart(6, "0"));
}

interface ListedPage {
  readonly names: readonly string[];
  readonly next: string | undefined;
}

async function pageAt(path: string, from: ObjectStore = store): Promise<ListedPage> {
  const response = await createApp({ layout: openLayout(from), access: "anyone" }).request(path);
  expect(response.status).toBe(200);
  const { tags, repositories } = (await response.json()) as { tags?: string[]; repositories?: string[] };
  const [, next] = /^<(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "") ?? [];
  return { names: tags ?? repositories ?? [], next };
}

async function pagesFrom(path: string, from?: ObjectStore): Promise<(readonly string[])[]> {
  const { names, next } = await pageAt(path, from);
  return [names, ...(next === undefined ? [] : await pagesFrom(next, from))];
}

describe("GET /v2/<name>/tags/list of very many tags", () => {
  const tags = numbers(12_345);
  beforeEach(async () => {
    await tagAll("team/app", tags.toReversed());
  });

  it.each([
    ["", [10_000, 2345]],
    ["?n=500000000", [10_000, 2345]],
    ["?n=5000", [5000, 5000, 2345]],
    ["?last=010000", [2344]],
  ])("pages %j", async (query, sizes) => {
    const pages = await pagesFrom(`/v2/team/app/tags/list${query}`);
    expect(pages.map((page) => page.length)).toEqual(sizes);
    expect(pages.flat()).toEqual(query.includes("last") ? tags.slice(10_001) : tags);
  });

  it("ends without a link where the last page is full", async () => {
    await tagAll("other/app", numbers(10_000));
    expect(await pageAt("/v2/other/app/tags/list")).toMatchObject({ next: undefined });
  });
});

describe("GET /v2/_catalog of very many repositories", () => {
  it("pages them in order, and neither reads an index nor meets what waits to be merged", async () => {
    const names = numbers(1000).map((number) => `team/${number}`);
    for (const name of ["images", ...names]) await tagAll(name, ["1"]);
    for (const id of numbers(500)) await store.put(`${intentsPrefix("team/000001")}${id}`, Buffer.from("{}"));
    const read: string[] = [];
    let listed = 0;
    const watched = decorate(store, {
      get: async (key) => {
        read.push(key);
        return store.get(key);
      },
      list: async function* (prefix) {
        for await (const info of store.list(prefix)) {
          listed += 1;
          yield info;
        }
      },
    });
    const pages = await pagesFrom("/v2/_catalog?n=300", watched);
    expect(pages.map((page) => page.length)).toEqual([300, 300, 300, 101]);
    expect(pages.flat()).toEqual(["images", ...names]);
    expect(read).toEqual([]);
    expect(listed).toBe(2 * names.length * pages.length); // the index and `oci-layout` of each
  });
});

describe("GET /v2/_catalog of repositories that are empty", () => {
  const app = (): Hono => createApp({ layout: openLayout(store), access: "anyone" });
  const remove = async (name: string): Promise<number> =>
    (await app().request(`/v2/${name}/manifests/${digest}`, { method: "DELETE" })).status;

  it("leaves them out, reads only their indexes, and lists them again once they have images", async () => {
    const names = numbers(100);
    for (const name of names) {
      const path = `/v1/load/${name}:1`;
      expect((await app().request(path, { method: "PUT", body: await tarOf(image) })).status).toBe(201);
    }
    const empty = names.filter((_, i) => i % 2 === 0);
    for (const name of empty) expect(await remove(name)).toBe(202);
    const read: string[] = [];
    const watched = decorate(store, {
      get: async (key) => {
        read.push(key);
        return store.get(key);
      },
    });
    const left = names.filter((name) => !empty.includes(name));
    expect((await pagesFrom("/v2/_catalog", watched)).flat()).toEqual(left);
    expect(read.toSorted()).toEqual(empty.map((name) => indexKey(name)).toSorted());
    await tagAll("000000", ["2"]);
    expect((await pagesFrom("/v2/_catalog?n=7")).flat()).toEqual(["000000", ...left]);
  });

  it("lists an index of another tool's whatever its length is", async () => {
    const entry = { mediaType, digest, size, annotations: { "org.opencontainers.image.ref.name": "1" } };
    const text = JSON.stringify({ schemaVersion: 2, manifests: [entry] }).padEnd(4096);
    await store.put(indexKey("team/other"), Buffer.from(text));
    expect(await pagesFrom("/v2/_catalog")).toEqual([["team/other"]]);
  });
});

describe("GET /v2/_catalog of a store that lists in an order of its own", () => {
  it("pages them in the order of their names", async () => {
    const names = numbers(50);
    for (const name of names) await tagAll(name, ["1"]);
    const backwards = decorate(store, {
      list: async function* (prefix) {
        const infos = [];
        for await (const info of store.list(prefix)) infos.push(info);
        yield* infos.toReversed();
      },
    });
    const pages = await pagesFrom("/v2/_catalog?n=7", backwards);
    expect(pages.flat()).toEqual(names);
  });
});

describe("GET /v2/<name>/manifests/<tag> by a crowd", () => {
  const path = "/v2/team/app/manifests/1.4";

  it("reads the index once for all who come while it is being read", async () => {
    const gated = new GatedStore(store);
    const app = createApp({ layout: openLayout(gated.store), access: "anyone" });
    await app.request("/v1/load", { method: "PUT", body: await tarOf(image) });
    const pull = async (): Promise<number> => (await app.request(path)).status;
    gated.close();
    const first = pull();
    await gated.reached(1);
    const others = Promise.all(Array.from({ length: 50 }, pull));
    gated.open();
    expect(await first).toBe(200);
    expect(new Set(await others)).toEqual(new Set([200]));
    expect(gated.reads).toBe(2);
  });

  it("gives nobody a state from before they came", async () => {
    const gated = new GatedStore(store);
    const app = createApp({ layout: openLayout(gated.store), access: "anyone" });
    await app.request("/v1/load", { method: "PUT", body: await tarOf(makeLayout({ name: "team/app:other" })) });
    gated.close();
    const early = app.request(path); // reads the index as it is now
    await gated.reached(1);
    await tagAll("team/app", ["latest"]);
    await createApp({ layout: openLayout(store), access: "anyone" }).request("/v1/load", {
      method: "PUT",
      body: await tarOf(image),
    });
    const late = app.request(path);
    gated.open();
    expect((await early).status).toBe(404);
    expect((await late).status).toBe(200);
  });

  it("lets one go away, and another have what he began to read", async () => {
    const gated = new GatedStore(store);
    const app = createApp({ layout: openLayout(gated.store), access: "anyone" });
    await app.request("/v1/load", { method: "PUT", body: await tarOf(image) });
    gated.close();
    const leaving = new AbortController();
    const left = app.request(new Request(`http://localhost${path}`, { signal: leaving.signal }));
    await gated.reached(1);
    const other = app.request(path);
    leaving.abort();
    expect((await left).status).toBeGreaterThanOrEqual(500);
    gated.open();
    expect((await other).status).toBe(200);
  });

  it("reads again after a read that failed", async () => {
    let failures = 0;
    const failing = decorate(store, {
      get: async (key, options) => {
        if (key === indexKey("team/app") && failures++ === 0) throw new Error("no answer");
        return store.get(key, options);
      },
    });
    await createApp({ layout: openLayout(store), access: "anyone" }).request("/v1/load", {
      method: "PUT",
      body: await tarOf(image),
    });
    const app = createApp({ layout: openLayout(failing), access: "anyone" });
    const statuses = await Promise.all([app.request(path), app.request(path)]);
    expect(statuses.map(({ status }) => status)).toEqual([500, 200]);
  });
});

/** A store whose reads of the index get their object at once, but wait at a gate before they hand it on. */
class GatedStore {
  readonly store: ObjectStore;
  reads = 0;
  #gate = Promise.resolve();
  #open: () => void = () => undefined;
  #onRead: () => void = () => undefined;

  constructor(inner: ObjectStore) {
    this.store = decorate(inner, {
      get: async (key, options) => {
        const found = await inner.get(key, options);
        if (key !== indexKey("team/app")) return found;
        this.reads += 1;
        this.#onRead();
        await this.#gate;
        return found;
      },
    });
  }

  /** From now on reads are counted, and wait. */
  close(): void {
    this.reads = 0;
    this.#gate = new Promise((resolve) => (this.#open = resolve));
  }

  open(): void {
    this.#open();
  }

  /** Waits until so many reads have begun. */
  async reached(reads: number): Promise<void> {
    while (this.reads < reads) await new Promise<void>((resolve) => (this.#onRead = resolve));
  }
}
