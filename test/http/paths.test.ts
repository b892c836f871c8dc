/** Which path is whose, how long one may be, and how long it takes to tell. */
import { Hono } from "hono";
import { Hono as QuickHono } from "hono/quick";
import { beforeEach, describe, expect, it } from "vitest";
import type { Access } from "../../src/auth/access.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ name: "team/app:1" });
const closed: Access = { tokens: [], anonymousPull: false };

let store: MemoryStore;
let app: Hono;
beforeEach(() => {
  store = new MemoryStore();
  app = createApp({ layout: openLayout(store), access: "anyone" });
});

async function errorOf(response: Response): Promise<{ status: number; code?: string; message: string }> {
  const { errors } = (await response.json()) as { errors: { code: string; message: string }[] };
  return { status: response.status, message: "", ...errors[0] };
}

/** A path that a router which tries a pattern again from each slash takes seconds for. */
const hostile = ["/".repeat(60_000), "a/".repeat(30_000), "manifests/".repeat(6_000), "%2F".repeat(20_000)];

describe("a long path", () => {
  it.each([
    ["as it is", "", (of: Hono) => of],
    ["mounted below a path", "/images", (of: Hono) => new Hono().route("/images", of)],
    [
      "mounted below a parameter",
      "/a",
      (of: Hono) => new Hono().route("/:tenant", of).get("/:x/:y{.+}/z", (c) => c.body("")),
    ],
    ["in an app with another router", "/images", (of: Hono) => new QuickHono().route("/images", of)],
  ])("is refused at once, %s", async (_, base, mount) => {
    const began = performance.now();
    for (const access of ["anyone", closed] as const) {
      const outer = mount(createApp({ layout: openLayout(store), access }));
      for (const middle of hostile) {
        for (const path of [`/v2/${middle}x/manifests/1`, `/v1/load/${middle}x`, `/v2/${middle}`]) {
          const response = await outer.request(base + path);
          expect(response.status, path.slice(0, 30)).toBe(access === "anyone" ? 414 : 401);
          if (access !== "anyone") continue;
          expect(await errorOf(response)).toMatchObject({
            code: "LIMIT_EXCEEDED",
            message: /, at most 2048 are allowed$/ as never,
          });
        }
      }
    }
    expect(performance.now() - began).toBeLessThan(5000); // 96 requests; one took 8,000 ms and more
  });

  it("may be as long as the longest name and digest, each character encoded", async () => {
    const name = `${"a".repeat(126)}/${"b".repeat(128)}`;
    const encoded = (text: string): string => Buffer.from(text).toString("hex").replaceAll(/../g, "%$&");
    const path = `/v2/${encoded(name)}/manifests/${encoded(`sha512:${"0".repeat(128)}`)}`;
    expect(await errorOf(await app.request(path))).toMatchObject({ status: 404, code: "NAME_UNKNOWN" });
    expect(await errorOf(await app.request(`/v2/${name}a/manifests/1`))).toMatchObject({
      status: 400,
      code: "NAME_INVALID",
    });
  });

  it("is cut in messages, and a long query refused", async () => {
    const { message } = await errorOf(await app.request(`/v2/${"a".repeat(2000)}`));
    expect(message.length).toBeLessThan(400);
    expect((await app.request(`/v2/_catalog?last=${"a".repeat(5000)}`)).status).toBe(414);
  });
});

describe("an encoded slash", () => {
  beforeEach(async () => {
    await app.request("/v1/load/team/app:1", { method: "PUT", body: await tarOf(layout) });
  });

  it.each([
    ["/v2/team%2Fapp/manifests/1", 200],
    ["/v2/team%2fapp/tags/list", 200],
    ["/v2/team/app%2Fmanifests/1", 404],
    ["/v2/team/app%2Fmanifests%2F1", 404],
    ["/v2/team/app/manifests%2F1", 404],
    ["/v2/team%252Fapp/manifests/1", 400],
    ["/v2/team/..%2Fteam/app/manifests/1", 400],
    ["/v2/team/app/manifests/%31", 200],
    ["/v2/team/app/manifests/%E0%A4%A", 404],
  ])("is a part of a name, and never between the parts of a path: %s", async (path, status) => {
    for (const base of ["", "/images", "/a%2Fb", "/%25"]) {
      const outer = base === "" ? app : new Hono().route("/:base", app);
      expect((await outer.request(base + path)).status, base + path).toBe(status);
    }
  });
});

describe("a query parameter that a route does not have", () => {
  it.each([
    [
      "PUT",
      "/v1/load?name=team/app",
      /^Cannot use the query parameter "name": expected verbose or repair or copyTo or expires$/,
    ],
    ["POST", "/v1/uploads?size=1", /^Cannot use the query parameter "size": expected none$/],
    ["PUT", "/v1/uploads/1/parts/1?key=1&Key=2", /^Cannot use the query parameter "Key": expected key$/],
    ["POST", "/v1/blobs/missing?%1b%0a=1", /^Cannot use the query parameter "\\u001b\\n": expected none$/],
  ])("is refused: %s %s", async (method, path, message) => {
    const error = await errorOf(await app.request(path, { method, body: "{}" }));
    expect(error).toMatchObject({
      status: 400,
      code: "INPUT_INVALID",
      message: expect.stringMatching(message) as string,
    });
  });

  it("is passed over where the distribution specification says what a route is", async () => {
    expect((await app.request("/v2/?x=1")).status).toBe(200);
    expect((await app.request("/v2/_catalog?n=1&x=1")).status).toBe(200);
  });
});
