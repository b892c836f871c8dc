import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const first = makeLayout({ label: "first" });
const second = makeLayout({ label: "second" });
const absent = { "If-None-Match": "*" };
const at = ({ digest }: Layout): Record<string, string> => ({ "If-Match": `"${digest}"` });

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore();
  app = createApp({ layout: openLayout(store), access: "anyone" });
});

type Headers = Readonly<Record<string, string>>;
type Load = (layout: Layout, name: string, headers?: Headers) => Promise<Response>;

const load: Load = async (layout, name, headers = {}) =>
  app.request(`/v1/load/${name}`, { method: "PUT", headers, body: await tarOf(layout) });

const loadInParts: Load = async (layout, name, headers = {}) => {
  const tarball = await tarOf(layout);
  const begun = await app.request("/v1/uploads", { method: "POST", body: JSON.stringify({ size: tarball.length }) });
  const { id, parts } = (await begun.json()) as { id: string; parts: { url: string }[] };
  await app.request(parts[0]?.url ?? "", { method: "PUT", body: new Uint8Array(tarball) });
  return app.request(`/v1/uploads/${id}/load/${name}`, { method: "POST", headers });
};

async function digestOf(tag: string): Promise<string | null> {
  const response = await app.request(`/v2/team/app/manifests/${tag}`, { method: "HEAD" });
  return response.headers.get("Docker-Content-Digest");
}

async function expectError(response: Response, status: number, code: string, message: RegExp): Promise<void> {
  expect(await response.json()).toMatchObject({ errors: [{ code, message: expect.stringMatching(message) }] });
  expect(response.status).toBe(status);
}

describe.each([
  ["/v1/load", load],
  ["/v1/uploads/<id>/load", loadInParts],
])("%s with a condition", (_, send) => {
  it("publishes a tag that is not there, with If-None-Match: *", async () => {
    expect((await send(first, "team/app:1", absent)).status).toBe(201);
    const message = new RegExp(`^Cannot change "team/app:1": found ${first.digest} there, expected nothing$`);
    await expectError(await send(second, "team/app:1", absent), 412, "CONDITION_FAILED", message);
    await expectError(await send(first, "team/app:1", absent), 412, "CONDITION_FAILED", message);
    expect(await digestOf("1")).toBe(first.digest);
  });

  it("moves a tag that is where If-Match says", async () => {
    const missing = new RegExp(`: found nothing there, expected ${first.digest}$`);
    await expectError(await send(second, "team/app:1", at(first)), 412, "CONDITION_FAILED", missing);
    await send(first, "team/app:1");
    expect((await send(second, "team/app:1", at(first))).status).toBe(201);
    await expectError(await send(first, "team/app:1", at(first)), 412, "CONDITION_FAILED", /, expected sha256:/);
    expect(await digestOf("1")).toBe(second.digest);
  });
});

describe("/v1/load with a condition", () => {
  it("lets one of several win that load the same tag at the same time", async () => {
    const layouts = Array.from({ length: 8 }, (_, i) => makeLayout({ label: String(i) }));
    const answers = await Promise.all(layouts.map(async (layout) => load(layout, "team/app:1", absent)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(7);
    expect(await digestOf("1")).toBe(layouts[answers.findIndex(({ status }) => status === 201)]?.digest);
  });

  it("holds the image to it, and not the referrers that come along", async () => {
    const [root] = first.roots;
    const signature = makeLayout({
      label: "signature",
      subject: root ?? { mediaType: types.manifest, digest: "sha256:", size: 0 },
    });
    const both = joinLayouts(first, signature);
    expect((await load(both, "team/app:1", absent)).status).toBe(201);
    expect((await load(both, "team/app:2", absent)).status).toBe(201);
    expect((await load(both, "team/app:2", absent)).status).toBe(412);
  });

  it.each([
    ["", absent, /found no name, expected a name with a tag, such as team\/app:1\.4$/],
    ["/team/app", absent, /found "team\/app", expected a name with a tag/],
    ["/team/app", at(first), /found "team\/app", expected a name with a tag/],
    [
      "/team/app:1",
      { "If-Match": first.digest },
      /^Cannot use the condition "If-Match: sha256:.*": expected If-Match: "sha256:…", with its quotes, or If-None-Match: \*$/,
    ],
    ["/team/app:1", { "If-None-Match": `"${first.digest}"` }, /^Cannot use the condition/],
    ["/team/app:1", { ...absent, ...at(first) }, /If-Match: .* and If-None-Match: \*"/],
  ] as readonly (readonly [string, Headers, RegExp])[])(
    "refuses it for %j before it reads the body: %j",
    async (path, headers, message) => {
      const body = new ReadableStream({ pull: () => Promise.reject(new Error("read")) }, { highWaterMark: 0 });
      const response = await app.request(`/v1/load${path}`, { method: "PUT", headers, body, duplex: "half" as const });
      await expectError(response, 400, "INPUT_INVALID", message);
    },
  );
});

describe("loadArchive with expects", () => {
  it("publishes or not, as the tag is", async () => {
    const source = async (layout: Layout): Promise<AsyncIterable<Uint8Array>> => chunksOf(await tarOf(layout), 1000);
    await loadArchive(openLayout(store), await source(first), { name: "team/app:1", expects: "absent" });
    const again = loadArchive(openLayout(store), await source(second), { name: "team/app:1", expects: "absent" });
    await expect(again).rejects.toMatchObject({ code: "CONDITION_FAILED", detail: { found: first.digest } });
    await loadArchive(openLayout(store), await source(second), {
      name: "team/app:1",
      expects: { digest: first.digest },
    });
    expect(await digestOf("1")).toBe(second.digest);
    const nameless = loadArchive(openLayout(store), await source(first), { expects: "absent" });
    await expect(nameless).rejects.toMatchObject({ code: "INPUT_INVALID" });
  });
});
