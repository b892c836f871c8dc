/** `createApp` inside somebody's own app: everything works below a path, and nothing of the outer app is taken over. */
import { type Context, Hono } from "hono";
import { mount } from "hono/mount";
import { beforeEach, describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { readableToBytes } from "../../src/streams/readable-stream.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const origin = "https://own.example";
const layer = randomBytes(1000);
const layout = makeLayout({ layers: [layer], name: "team/app:1.4" });
const secret = "of-this-test";
const sha256OfSecret = sha256(Buffer.from(secret)).slice("sha256:".length);
const tokens: readonly Token[] = [{ name: "ci", sha256: sha256OfSecret, actions: ["load"], repositories: ["**"] }];

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

function stowage(options: Partial<AppOptions> = {}): Hono {
  return createApp({ layout: openLayout(store), access: "anyone", ...options });
}

async function send(app: Hono, url: string, init?: RequestInit): Promise<Response> {
  return app.fetch(new Request(new URL(url, origin).href, init));
}

async function load(app: Hono, path: string, image: Layout = layout): Promise<Response> {
  return send(app, path, { method: "PUT", body: await tarOf(image) });
}

async function codeOf(response: Response): Promise<string | undefined> {
  const { errors } = (await response.json()) as { errors: { code: string }[] };
  return errors[0]?.code;
}

/** Follows the Link headers as a client does and returns what each page lists. */
async function pagesFrom(app: Hono, url: string, field: string): Promise<unknown[]> {
  const pages: unknown[] = [];
  for (let next: string | undefined = new URL(url, origin).href; next !== undefined && pages.length < 9;) {
    const response = await send(app, next);
    pages.push(((await response.json()) as Record<string, unknown>)[field]);
    const link = /^<(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "")?.[1];
    next = link === undefined ? undefined : new URL(link, next).href;
  }
  return pages;
}

describe.each<[how: string, base: string, mounted: () => Hono]>([
  ["as it is", "", () => stowage()],
  ["by route", "/images", () => new Hono().route("/images", stowage())],
  ["by route, at the root", "", () => new Hono().route("/", stowage())],
  ["by route, below a path of two parts", "/a/b", () => new Hono().route("/a/", new Hono().route("/b", stowage()))],
  ["by route, below a parameter", "/tenant-7", () => new Hono().route("/:tenant", stowage())],
  ["by route, below a base path", "/own/images", () => new Hono().basePath("/own").route("/images", stowage())],
  ["by route, in an app that routes by host", "/images", () => byHost().route("/own.example/images", stowage())],
  [
    "by mount, which is told to leave the path",
    "/images",
    () => {
      const below = new Hono().route("/images", stowage());
      return new Hono().all("/images/*", mount(below.fetch, { replaceRequest: false }));
    },
  ],
])("createApp, mounted %s", (_, base, mounted) => {
  let app: Hono;
  beforeEach(() => {
    app = mounted();
  });

  it("loads, and answers what was loaded", async () => {
    expect((await load(app, `${base}/v1/load/a/b:2`)).status).toBe(201);
    const manifest = await send(app, `${base}/v2/a/b/manifests/2`);
    expect(manifest.headers.get("Docker-Content-Digest")).toBe(layout.digest);
    const blob = await send(app, `${base}/v2/a/b/blobs/${sha256(layer)}`);
    expect(Buffer.from(await blob.arrayBuffer())).toEqual(layer);
    const part = await send(app, `${base}/v2/a/b/blobs/${sha256(layer)}`, { headers: { Range: "bytes=1-2" } });
    expect(Buffer.from(await part.arrayBuffer())).toEqual(layer.subarray(1, 3));
    expect((await send(app, `${base}/v2/`)).status).toBe(200);
    expect((await send(app, `${base}/healthz`)).status).toBe(200);
  });

  it("links to pages that are there", async () => {
    for (const name of ["a", "b:1", "b:2", "c"]) await load(app, `${base}/v1/load/${name}`);
    expect(await pagesFrom(app, `${base}/v2/_catalog?n=2`, "repositories")).toEqual([["a", "b"], ["c"]]);
    expect(await pagesFrom(app, `${base}/v2/b/tags/list?n=1`, "tags")).toEqual([["1"], ["2"]]);
  });

  it("takes an upload in parts at the addresses that it gives", async () => {
    const bytes = await tarOf(layout);
    const body = JSON.stringify({ size: bytes.length });
    const begun = await send(app, `${base}/v1/uploads`, { method: "POST", body });
    expect(begun.status).toBe(201);
    const location = begun.headers.get("Location") ?? "";
    expect(location).toMatch(new RegExp(`^${origin}${base}/v1/uploads/`));
    const { parts } = (await begun.json()) as { parts: { url: string }[] };
    for (const { url } of parts) expect((await send(app, url, { method: "PUT", body: bytes })).status).toBe(201);
    expect((await send(app, `${location}/load`, { method: "POST" })).status).toBe(201);
    expect((await send(app, location)).status).toBe(404);
  });

  it("says which blobs are missing", async () => {
    const body = JSON.stringify({ digests: [layout.digest] });
    const answer = await send(app, `${base}/v1/blobs/missing`, { method: "POST", body });
    expect(await answer.json()).toMatchObject({ missing: [layout.digest] });
  });

  it("answers its errors itself", async () => {
    const unknown = await send(app, `${base}/v2/none/manifests/1`);
    expect([unknown.status, await codeOf(unknown)]).toEqual([404, "NAME_UNKNOWN"]);
    const broken = await send(app, `${base}/v1/load`, { method: "PUT", body: "no tarball" });
    expect([broken.status, await codeOf(broken)]).toEqual([400, "ARCHIVE_INVALID"]);
  });
});

describe("createApp, mounted by mount, which hides the path from it", () => {
  it("works but for its links", async () => {
    const outer = new Hono().all("/images/*", mount(stowage().fetch));
    expect((await load(outer, "/images/v1/load")).status).toBe(201);
    expect((await send(outer, "/images/v2/team/app/manifests/1.4")).status).toBe(200);
    expect(await codeOf(await send(outer, "/images/v2/none/manifests/1"))).toBe("NAME_UNKNOWN");
  });
});

/** The host becomes the first part of the path, as Hono's guide does it. */
function byHost(): Hono {
  return new Hono({ getPath: ({ url }) => url.replace(/^https?:\/([^?]+).*$/, "$1") });
}

describe("createApp, in somebody's own app", () => {
  it("leaves errors and unknown paths of the outer app to it", async () => {
    const outer = new Hono()
      .route("/images", stowage())
      .get("/broken", () => {
        throw new Error("own");
      })
      .onError((error, c) => c.text(`own error: ${error.message}`, 500))
      .notFound((c) => c.text("own 404", 404));
    expect(await (await send(outer, "/broken")).text()).toBe("own error: own");
    expect(await (await send(outer, "/nothing")).text()).toBe("own 404");
    expect(await (await send(outer, "/images/nothing")).text()).toBe("own 404");
  });

  it("asks nobody for a token who wants the outer app's own routes, also at the root", async () => {
    const outer = new Hono()
      .route("/", stowage({ access: { tokens: [], anonymousPull: false } }))
      .get("/own", (c) => c.text("own"));
    const headers = { Authorization: "Bearer of-the-outer-app" };
    expect(await (await send(outer, "/own", { headers })).text()).toBe("own");
    expect((await send(outer, "/v2/", { headers })).status).toBe(401);
    expect((await load(outer, "/v1/load")).status).toBe(401);
  });

  it("leaves paths below /v1 and /v2 that are not its own to the outer app", async () => {
    const outer = new Hono()
      .route("/", stowage({ access: { tokens: [], anonymousPull: true } }))
      .get("/v1/own", (c) => c.text("own"))
      .notFound((c) => c.text("own 404", 404));
    expect(await (await send(outer, "/v1/own")).text()).toBe("own");
    expect(await (await send(outer, "/v2/own")).text()).toBe("own 404");
  });

  it("does not take a parameter of the outer app for its own", async () => {
    const outer = new Hono().route("/:name/:reference/:digest/:path/:id", stowage());
    expect((await load(outer, "/a/b/c/d/e/v1/load/team/app:2")).status).toBe(201);
    expect((await send(outer, "/a/b/c/d/e/v2/team/app/manifests/2")).status).toBe(200);
  });

  it("does not disturb another one beside it", async () => {
    const other = new MemoryStore();
    const outer = new Hono()
      .route("/closed", createApp({ layout: openLayout(store), access: { tokens, anonymousPull: false } }))
      .route("/open", createApp({ layout: openLayout(other), access: "anyone" }));
    expect((await load(outer, "/closed/v1/load")).status).toBe(401);
    expect((await load(outer, "/open/v1/load")).status).toBe(201);
    const headers = { Authorization: `Bearer ${secret}` };
    const body = await tarOf(layout);
    expect((await send(outer, "/closed/v1/load", { method: "PUT", body, headers })).status).toBe(201);
    expect((await send(outer, "/closed/v2/team/app/manifests/1.4", { headers })).status).toBe(403);
    expect((await send(outer, "/open/v2/team/app/manifests/1.4")).status).toBe(200);
  });

  it("comes after the outer app's middleware", async () => {
    const outer = new Hono<{ Variables: { user: string } }>()
      .use("/images/*", async (c, next) => {
        if (c.req.header("X-User") === undefined) return c.text("who?", 401);
        c.set("user", "somebody");
        await next();
        c.header("X-Own", "seen");
        return undefined;
      })
      .route("/images", stowage());
    expect((await outer.request("/images/v2/")).status).toBe(401);
    const answer = await outer.request("/images/v2/", { headers: { "X-User": "somebody" } });
    expect([answer.status, answer.headers.get("X-Own")]).toEqual([200, "seen"]);
  });

  it("reads bodies as it is told to", async () => {
    const seen: string[] = [];
    const bodyOf = (c: Context): AsyncIterable<Uint8Array> => {
      seen.push(c.req.path);
      return readableToBytes(c.req.raw.body);
    };
    expect((await load(new Hono().route("/images", stowage({ bodyOf })), "/images/v1/load")).status).toBe(201);
    expect(seen).toEqual(["/images/v1/load"]);
  });

  it("writes no line end into its log that a path brings", async () => {
    const log: string[] = [];
    const broken = Object.assign(new MemoryStore(), { get: () => Promise.reject(new Error("broken")) });
    await send(stowage({ layout: openLayout(broken), report: notesIn(() => log) }), "/v2/a/manifests/b%0Ac");
    expect(log.map((line) => line.split("\n")[0])).toEqual([expect.stringContaining("/v2/a/manifests/b%0Ac 500")]);
  });
});
