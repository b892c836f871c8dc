import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf, withoutBlob } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;

describe("POST /v1/blobs/missing", () => {
  let store: MemoryStore;
  beforeEach(() => {
    store = new MemoryStore();
  });

  async function ask(body: string, options: { maxRequestBytes?: number } = {}): Promise<Response> {
    const app = createApp({ layout: openLayout(store), access: "anyone", ...options });
    return app.request("/v1/blobs/missing", { method: "POST", body });
  }

  it("names what is not there, in its order and once, so that a tarball can go without the rest", async () => {
    const layer = randomBytes(1000);
    const app = createApp({ layout: openLayout(store), access: "anyone" });
    const load = async (body: Buffer): Promise<unknown> =>
      (await app.request("/v1/load", { method: "PUT", body: new Uint8Array(body) })).json();
    await load(await tarOf(makeLayout({ layers: [layer], name: "team/app:1" })));
    const next = makeLayout({ layers: [layer, randomBytes(10)], name: "team/app:2" });
    const digests = [...next.blobs.keys(), next.digest];
    const response = await ask(JSON.stringify({ digests }));
    expect(response.status).toBe(200);
    const present = sha256(layer);
    expect(await response.json()).toEqual({
      missing: [...next.blobs.keys()].filter((digest) => digest !== present),
      directBytes: 64 * mebibyte,
    });
    const receipt = await load(await tarOf(withoutBlob(next, present)));
    expect(receipt).toMatchObject({ images: [{ reference: "2", status: "created" }] });
  });

  it.each([
    [1000, 1000],
    [100_000_000, 64 * mebibyte],
  ])(
    "says how large a tarball may be sent at once where the platform takes %i bytes",
    async (maxRequestBytes, expected) => {
      const response = await ask('{"digests":[]}', { maxRequestBytes });
      expect(await response.json()).toEqual({ missing: [], directBytes: expected });
    },
  );

  it.each([
    ["no JSON", "digests", 400, "INPUT_INVALID"],
    ["no list", '{"digests":"all"}', 400, "INPUT_INVALID"],
    ["what is no digest", '{"digests":["sha256:12"]}', 400, "INPUT_INVALID"],
    [
      "too many digests",
      JSON.stringify({ digests: Array(10_001).fill(sha256(randomBytes(1))) }),
      413,
      "LIMIT_EXCEEDED",
    ],
    ["too long a body", `{"digests":[],"more":"${"x".repeat(1.5 * mebibyte)}"}`, 413, "LIMIT_EXCEEDED"],
  ])("refuses %s", async (_, body, status, code) => {
    const response = await ask(body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ errors: [{ code }] });
  });

  it("asks who asks", async () => {
    const app = createApp({ layout: openLayout(store), access: { tokens: [], anonymousPull: true } });
    const response = await app.request("/v1/blobs/missing", { method: "POST", body: '{"digests":[]}' });
    expect(response.status).toBe(401);
  });
});
