import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { parseTagPatterns } from "../../src/oci/tag-pattern.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const { patterns: immutableTags } = parseTagPatterns("v*,team/**:stable");
const first = makeLayout({ label: "first" });
const second = makeLayout({ label: "second" });

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore();
  app = createApp({ layout: openLayout(store), access: "anyone", immutableTags });
});

async function load(layout: Layout, name = ""): Promise<Response> {
  return app.request(`/v1/load${name}`, { method: "PUT", body: await tarOf(layout) });
}

async function remove(name: string, reference: string): Promise<Response> {
  return app.request(`/v2/${name}/manifests/${reference}`, { method: "DELETE" });
}

async function expectImmutable(response: Response, name: string): Promise<void> {
  expect(await response.json()).toMatchObject({
    errors: [
      { code: "TAG_IMMUTABLE", message: expect.stringContaining(`Cannot change "${name}": it is at ${first.digest}`) },
    ],
  });
  expect(response.status).toBe(409);
}

async function digestOf(name: string, tag: string): Promise<string | null> {
  const response = await app.request(`/v2/${name}/manifests/${tag}`, { method: "HEAD" });
  return response.headers.get("Docker-Content-Digest");
}

describe("a tag that the settings protect", () => {
  it.each([
    ["app", "v1"],
    ["team/app", "stable"],
    ["team/a/b", "v2.0"],
  ])("may be made, and made again, but does not move: %s:%s", async (name, tag) => {
    expect((await load(first, `/${name}:${tag}`)).status).toBe(201);
    expect((await load(first, `/${name}:${tag}`)).status).toBe(200);
    await expectImmutable(await load(second, `/${name}:${tag}`), `${name}:${tag}`);
    expect(await digestOf(name, tag)).toBe(first.digest);
  });

  it("keeps the other repositories of a load back as well", async () => {
    await load(first, "/app:v1");
    const named = (layout: Layout, name: string): Layout => ({
      ...layout,
      roots: layout.roots.map((root) => ({ ...root, annotations: { "io.containerd.image.name": name } })),
    });
    const response = await load(joinLayouts(named(first, "other:1"), named(second, "app:v1")));
    await expectImmutable(response, "app:v1");
    expect(await digestOf("other", "1")).toBeNull();
  });

  it.each([
    ["app", "stable"],
    ["team", "stable"],
    ["team/app", "stable-2"],
    ["app", "1-v"],
  ])("is none that fits no pattern: %s:%s", async (name, tag) => {
    await load(first, `/${name}:${tag}`);
    expect((await load(second, `/${name}:${tag}`)).status).toBe(201);
    expect((await remove(name, tag)).status).toBe(202);
  });

  it("is not removed, by itself or by its digest", async () => {
    await load(first, "/app:v1");
    await load(first, "/app:latest");
    await expectImmutable(await remove("app", "v1"), "app:v1");
    await expectImmutable(await remove("app", first.digest), "app:v1");
    expect([await digestOf("app", "v1"), await digestOf("app", "latest")]).toEqual([first.digest, first.digest]);
    expect((await remove("app", "latest")).status).toBe(202);
  });

  it("keeps all images of its repository out that come along", async () => {
    await load(makeLayout({ label: "first", refName: "v1" }), "/app");
    const moved = makeLayout({ label: "second", refName: "v1" });
    const added = makeLayout({ label: "third", refName: "new" });
    await expectImmutable(await load(joinLayouts(added, moved), "/app"), "app:v1");
    expect(await digestOf("app", "new")).toBeNull();
  });

  it("stays for loads by the library", async () => {
    const source = async (layout: Layout): Promise<AsyncIterable<Uint8Array>> => chunksOf(await tarOf(layout), 1000);
    await loadArchive(openLayout(store), await source(first), { name: "app:v1", immutableTags });
    const moving = loadArchive(openLayout(store), await source(second), { name: "app:v1", immutableTags });
    await expect(moving).rejects.toMatchObject({ code: "TAG_IMMUTABLE" });
    const unprotected = await loadArchive(openLayout(store), await source(second), { name: "app:v1" });
    expect(unprotected.images).toMatchObject([{ status: "updated" }]);
  });
});
