import { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, types } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const layer = randomBytes(1000);
const layout = makeLayout({ layers: [layer], name: "team/app:1.4" });
const layerDigest = sha256(layer);

let store: MemoryStore;
let app: Hono;
let log: string[];
beforeEach(() => {
  store = new MemoryStore({ partBytes: 400 });
  log = [];
  app = createApp({ layout: openLayout(store), access: "anyone", report: notesIn(() => log) });
});

async function put(image: Layout, path = "/v1/load"): Promise<Response> {
  return app.request(path, { method: "PUT", body: await tarOf(image) });
}

async function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return app.request(path, { headers });
}

async function errorOf(response: Response): Promise<{ code: string; message: string }> {
  const { errors } = (await response.json()) as { errors: { code: string; message: string }[] };
  expect(errors).toHaveLength(1);
  return errors[0] ?? { code: "", message: "" };
}

describe("PUT and POST /v1/load", () => {
  it("answers 201 with the receipt, and 200 when nothing changed", async () => {
    const first = await put(layout);
    expect(first.status).toBe(201);
    expect(first.headers.get("Content-Type")).toBe("application/json");
    expect(await first.json()).toMatchObject({
      images: [{ repository: "team/app", reference: "1.4", status: "created" }],
    });
    const second = await app.request("/v1/load", { method: "POST", body: await tarOf(layout) });
    expect(second.status).toBe(200);
    expect(await second.json()).toMatchObject({ images: [{ status: "unchanged" }] });
  });

  it("answers with the command that pulls each image, and totals", async () => {
    expect(await (await put(layout)).json()).toEqual({
      images: [expect.objectContaining({ reference: "1.4", pull: "docker pull localhost/team/app:1.4" })],
      totals: { images: 1, referrers: 0, written: layout.blobs.size, present: 0, repaired: 0, ignored: 0 },
      bytes: { received: expect.any(Number) as number, written: expect.any(Number) as number, present: 0, repaired: 0 },
    });
  });

  it("adds blobs, ignored entries and requests with ?verbose=true", async () => {
    const extra = [{ name: "README", bytes: Buffer.from("x") }];
    const body = await tarOf(layout, { extra });
    const answer = await (await app.request("/v1/load/a:1?verbose=true", { method: "PUT", body })).json();
    expect(answer).toMatchObject({
      totals: { ignored: 1 },
      blobs: [...layout.blobs].map(([digest, { length: size }]) => ({ digest, size, status: "written" })),
      ignored: [{ path: "README" }],
      requests: { list: expect.any(Number) as number },
    });
    const brief = await app.request("/v1/load/a:2?verbose=false", { method: "PUT", body });
    expect(Object.keys((await brief.json()) as object)).toEqual(["images", "totals", "bytes"]);
  });

  it("refuses a query that it cannot read before the body", async () => {
    const response = await app.request("/v1/load?verbose=yes", { method: "PUT", body: "no tarball" });
    expect([response.status, (await errorOf(response)).message]).toEqual([
      400,
      'Cannot use verbose="yes": expected true or false',
    ]);
  });

  it.each([
    ["https://stowage.example/v1/load", {}, "stowage.example/team/app:1.4"],
    [
      "http://10.0.0.1:8080/v1/load",
      { "X-Forwarded-Host": "stowage.example:5000, proxy" },
      "stowage.example:5000/team/app:1.4",
    ],
    ["http://[::1]:80/v1/load", { "X-Forwarded-Host": "x; rm -rf /" }, "[::1]/team/app:1.4"],
    ["http://h/v1/load", { "X-Forwarded-Host": "$(id)" }, "h/team/app:1.4"],
  ])("names the host by which the client reaches it: %s %j", async (url, headers, image) => {
    const response = await app.request(url, { method: "PUT", body: await tarOf(layout), headers });
    expect(await response.json()).toMatchObject({ images: [{ pull: `docker pull ${image}` }] });
  });

  it("names no command where clients cannot pull, below a path", async () => {
    const outer = new Hono().route("/images", app);
    const response = await outer.request("/images/v1/load", { method: "PUT", body: await tarOf(layout) });
    expect(JSON.stringify(await response.json())).not.toContain("docker pull");
  });

  it.each([
    ["/v1/load/a/b/c:9", "a/b/c", "9"],
    ["/v1/load/a/b/c", "a/b/c", "1.4"],
    ["/v1/load/a%2Fb:9", "a/b", "9"],
    ["/v1/load/docker.io/library/app:9", "app", "9"],
    ["/v1/load/localhost:5000/app", "app", "1.4"],
    ["/v1/load/127.0.0.1:8080/app:9", "app", "9"],
    ["/v1/load/GHCR.io/acme/app:9", "ghcr.io/acme/app", "9"],
    [`/v1/load/app@${layout.digest}`, "app", layout.digest],
    ["/v1/load/", "team/app", "1.4"],
    ["/v1/load/app.tar", "team/app", "1.4"],
    ["/v1/load/other/My%20App.tar.gz", "team/app", "1.4"],
    ["/v1/load/app.tgz", "team/app", "1.4"],
    ["/v1/load/app.tar.zst", "team/app", "1.4"],
    ["/v1/load/app.tar:9", "app.tar", "9"],
  ])("takes the name from the path %s, and none from that of a file", async (path, repository, reference) => {
    expect(await (await put(layout, path)).json()).toMatchObject({ images: [{ repository, reference }] });
  });

  it.each([
    ["/v1/load/Team/App", "NAME_INVALID"],
    ["/v1/load/a:b:c", "NAME_INVALID"],
    ["/v1/load/a:", "NAME_INVALID"],
    ["/v1/load/a%20b", "NAME_INVALID"],
    ["/v1/load/team/", "NAME_INVALID"],
    ["/v1/load/https://ghcr.io/acme/app:1", "NAME_INVALID"],
    ["/v1/load/app@sha256:12", "NAME_INVALID"],
    [`/v1/load/app@sha256:${"0".repeat(64)}`, "DIGEST_INVALID"],
  ])("refuses %s", async (path, code) => {
    const response = await put(layout, path);
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({ code });
  });

  it.each([
    ["no archive", "hello", 400, "ARCHIVE_INVALID"],
    ["nothing", "", 400, "ARCHIVE_INVALID"],
  ])("answers %s with an OCI error", async (_, body, status, code) => {
    const response = await app.request("/v1/load", { method: "PUT", body });
    expect(response.status).toBe(status);
    expect(await errorOf(response)).toMatchObject({ code });
  });

  it("answers 413 where a limit is exceeded", async () => {
    const limited = createApp({
      layout: openLayout(store, { maxBufferBytes: 300, maxManifestBytes: 9999, maxEntries: 99, maxIndexDepth: 3 }),
      access: "anyone",
    });
    const image = makeLayout({ layers: [randomBytes(350)], refName: "x" });
    const response = await limited.request("/v1/load", { method: "PUT", body: await tarOf(image) });
    expect(response.status).toBe(413);
    expect(await errorOf(response)).toMatchObject({ code: "LIMIT_EXCEEDED" });
  });

  it("answers 503 where the store fails or cannot be trusted, and logs it", async () => {
    const careless = createApp({
      access: "anyone",
      layout: openLayout(Object.assign(new MemoryStore(), { put: () => Promise.resolve({ etag: "always" }) })),
      report: notesIn(() => log),
    });
    const response = await careless.request("/v1/load", { method: "PUT", body: await tarOf(layout) });
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(log).toEqual([expect.stringContaining("anyone PUT /v1/load 503 STORE_UNAVAILABLE: ")]);
  });

  it("answers 500 to what nobody foresaw, and tells only the log", async () => {
    const broken = createApp({
      access: "anyone",
      layout: openLayout(Object.assign(new MemoryStore(), { head: () => Promise.reject(new Error("secret detail")) })),
      report: notesIn(() => log),
    });
    const response = await broken.request("/v1/load", { method: "PUT", body: await tarOf(layout) });
    expect(response.status).toBe(500);
    expect((await errorOf(response)).message).not.toContain("secret");
    expect(log.join()).toContain("secret detail");
  });
});

/** Without those that each request has for itself. */
function headersOf({ headers }: Response): unknown[] {
  return [...headers].filter(([name]) => name !== "x-request-id");
}

describe("GET and HEAD /v2/<name>/manifests/<reference>", () => {
  const manifest = layout.blobs.get(layout.digest) ?? Buffer.from("");
  beforeEach(async () => {
    await put(layout);
  });

  it.each([["1.4"], [layout.digest]])("serves %s", async (reference) => {
    const response = await get(`/v2/team/app/manifests/${reference}`);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": types.manifest,
      "content-length": String(manifest.length),
      "docker-content-digest": layout.digest,
      etag: `"${layout.digest}"`,
    });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(manifest);
    const head = await app.request(`/v2/team/app/manifests/${reference}`, { method: "HEAD" });
    expect(head.status).toBe(200);
    expect(headersOf(head)).toEqual(headersOf(response));
    expect(await head.text()).toBe("");
  });

  it("serves manifests below an index", async () => {
    const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64"], refName: "multi:1" });
    await put(index);
    expect((await get("/v2/multi/manifests/1")).headers.get("Content-Type")).toBe(types.index);
    expect((await get(`/v2/multi/manifests/${index.manifests[1]}`)).headers.get("Content-Type")).toBe(types.manifest);
  });

  it("answers 304 to whoever has it", async () => {
    const etag = `"${layout.digest}"`;
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const response = await get("/v2/team/app/manifests/1.4", { "If-None-Match": tag });
      expect(response.status).toBe(304);
      expect(response.headers.get("ETag")).toBe(etag);
    }
    expect((await get("/v2/team/app/manifests/1.4", { "If-None-Match": '"other"' })).status).toBe(200);
  });

  it.each([
    ["/v2/team/app/manifests/2", 404, "MANIFEST_UNKNOWN"],
    [`/v2/team/app/manifests/${sha256(randomBytes(3))}`, 404, "MANIFEST_UNKNOWN"],
    [`/v2/team/app/manifests/${layerDigest}`, 404, "MANIFEST_UNKNOWN"],
    ["/v2/team/app/manifests/sha256:abc", 404, "MANIFEST_UNKNOWN"],
    [`/v2/team/app/manifests/sha512:${"a".repeat(128)}`, 404, "MANIFEST_UNKNOWN"],
    ["/v2/team/app/manifests/-1", 404, "MANIFEST_UNKNOWN"],
    ["/v2/team/other/manifests/1.4", 404, "NAME_UNKNOWN"],
    ["/v2/Team/manifests/1", 400, "NAME_INVALID"],
  ])("answers %s with %i %s", async (path, status, code) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(await errorOf(response)).toMatchObject({ code });
  });

  it.each(["team/app:manifests", "team/app:manifests-1", "team/manifests:1", "manifests/manifests:manifests"])(
    "serves %s, whose name has a word of the route in it",
    async (name) => {
      await put(layout, `/v1/load/${name}`);
      for (const method of ["GET", "HEAD"]) {
        const response = await app.request(`/v2/${name.replace(":", "/manifests/")}`, { method });
        expect([response.status, response.headers.get("Docker-Content-Digest")]).toEqual([200, layout.digest]);
      }
    },
  );

  it.each([
    ["another kind", { schemaVersion: 2, artifactType: "a", blobs: [] }],
    ["a digest that is none", { schemaVersion: 2, layers: [], config: { digest: "sha256:1", size: 1 } }],
    ["another algorithm", { schemaVersion: 2, layers: [], config: { digest: `sha384:${"a".repeat(96)}`, size: 1 } }],
    ["a size that is none", { schemaVersion: 2, layers: [], config: { digest: layerDigest, size: -1 } }],
  ])("does not find a blob that says it is a manifest, but with %s", async (_, json) => {
    const bytes = Buffer.from(JSON.stringify({ mediaType: types.manifest, ...json }));
    await put(makeLayout({ layers: [bytes], name: "team/app:odd" }));
    const response = await get(`/v2/team/app/manifests/${sha256(bytes)}`);
    expect([response.status, (await errorOf(response)).code]).toEqual([404, "MANIFEST_UNKNOWN"]);
  });

  it("serves Docker Hub's library as if it had none", async () => {
    await put(layout, "/v1/load/app:1");
    await put(layout, "/v1/load/library/app:2");
    for (const path of ["app/manifests/1", "library/app/manifests/1", "app/manifests/2", "library/app/manifests/2"]) {
      expect((await get(`/v2/${path}`)).status, path).toBe(200);
    }
  });

  it("says that the store is damaged where a tag's manifest is gone", async () => {
    await store.delete(blobKey(layout.digest));
    const response = await get("/v2/team/app/manifests/1.4");
    expect(response.status).toBe(503);
    expect(await errorOf(response)).toMatchObject({ code: "STORE_DAMAGED" });
  });
});

describe("GET and HEAD /v2/<name>/blobs/<digest>", () => {
  const path = `/v2/team/app/blobs/${layerDigest}`;
  beforeEach(async () => {
    await put(layout);
  });

  it("serves the whole blob", async () => {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "accept-ranges": "bytes",
      "content-type": "application/octet-stream",
      "content-length": "1000",
      "docker-content-digest": layerDigest,
      etag: `"${layerDigest}"`,
    });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(layer);
    const head = await app.request(path, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    expect(headersOf(head)).toEqual(headersOf(response));
  });

  it.each([
    ["bytes=0-0", 0, 0],
    ["bytes=10-19", 10, 19],
    ["bytes=990-", 990, 999],
    ["bytes=990-5000", 990, 999],
    ["bytes=-10", 990, 999],
    ["bytes=-5000", 0, 999],
  ])("serves the range %s", async (range, start, end) => {
    const response = await get(path, { Range: range });
    expect(response.status).toBe(206);
    expect(response.headers.get("Content-Range")).toBe(`bytes ${start}-${end}/1000`);
    expect(response.headers.get("Content-Length")).toBe(String(end - start + 1));
    expect(Buffer.from(await response.arrayBuffer())).toEqual(layer.subarray(start, end + 1));
  });

  it.each(["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=5-1"])("answers 416 to the range %s", async (range) => {
    const response = await get(path, { Range: range });
    expect(response.status).toBe(416);
    expect(response.headers.get("Content-Range")).toBe("bytes */1000");
    expect(await errorOf(response)).toMatchObject({
      code: "RANGE_INVALID",
      message: expect.stringContaining("1000 bytes") as string,
    });
  });

  it.each(["bytes=", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "nonsense"])(
    "sends everything where it cannot use the range %j",
    async (range) => {
      const response = await get(path, { Range: range });
      expect([response.status, response.headers.get("Content-Length")]).toEqual([200, "1000"]);
    },
  );

  it("sends a range only of what If-Range names", async () => {
    const range = { Range: "bytes=0-9" };
    expect((await get(path, { ...range, "If-Range": `"${layerDigest}"` })).status).toBe(206);
    expect((await get(path, { ...range, "If-Range": '"other"' })).status).toBe(200);
  });

  it("answers 304 to whoever has it", async () => {
    expect((await get(path, { "If-None-Match": `"${layerDigest}"` })).status).toBe(304);
    expect((await get(path, { "If-None-Match": '"other"' })).status).toBe(200);
  });

  it.each([
    [sha256(randomBytes(3)), 404, "BLOB_UNKNOWN"],
    ["sha256:abc", 400, "DIGEST_INVALID"],
    [`sha256:${"A".repeat(64)}`, 400, "DIGEST_INVALID"],
    ["nothing", 400, "DIGEST_INVALID"],
    [`sha384:${"a".repeat(96)}`, 400, "UNSUPPORTED"],
  ])("answers %s with %i %s, whatever is asked of it", async (digest, status, code) => {
    const headers = [{}, { Range: "bytes=0-1" }, { "If-None-Match": `"${digest}"` }];
    for (const header of headers) {
      const response = await get(`/v2/team/app/blobs/${digest}`, header);
      expect(response.status).toBe(status);
      expect(await errorOf(response)).toMatchObject({ code });
    }
  });

  it("ends the reading when the client goes away", async () => {
    const controller = new AbortController();
    const request = new Request(`http://localhost${path}`, { signal: controller.signal });
    const reader = ((await app.request(request)).body as ReadableStream<Uint8Array>).getReader();
    await reader.cancel();
    await expect(reader.read()).resolves.toMatchObject({ done: true });
  });
});

describe("GET /v2/_catalog and /v2/<name>/tags/list", () => {
  beforeEach(async () => {
    for (const name of ["b/b:2", "a:1", "a-b:1", "a/b:1", "b/b:10", "b/b:1"]) await put(layout, `/v1/load/${name}`);
    await put(makeLayout({ refName: "in-the-default" }));
    await put(makeLayout());
  });

  it("lists repositories and tags in order", async () => {
    expect(await (await get("/v2/_catalog")).json()).toEqual({ repositories: ["a", "a-b", "a/b", "b/b", "images"] });
    expect(await (await get("/v2/b/b/tags/list")).json()).toEqual({ name: "b/b", tags: ["1", "10", "2"] });
    expect(await (await get("/v2/images/tags/list")).json()).toEqual({ name: "images", tags: ["in-the-default"] });
  });

  it("pages by n and last, with a link to the next page", async () => {
    let path: string | undefined = "/v2/_catalog?n=2";
    const pages: string[][] = [];
    while (path !== undefined) {
      const response = await get(path);
      pages.push(((await response.json()) as { repositories: string[] }).repositories);
      path = /^<(.*)>; rel="next"$/.exec(response.headers.get("Link") ?? "")?.[1];
    }
    expect(pages).toEqual([["a", "a-b"], ["a/b", "b/b"], ["images"]]);
    expect(await (await get("/v2/b/b/tags/list?n=1&last=1")).json()).toEqual({ name: "b/b", tags: ["10"] });
    expect(await (await get("/v2/b/b/tags/list?last=2")).json()).toEqual({ name: "b/b", tags: [] });
    const none = await get("/v2/b/b/tags/list?n=0");
    expect(none.headers.has("Link")).toBe(false);
    expect(await none.json()).toEqual({ name: "b/b", tags: [] });
    const all = await get("/v2/b/b/tags/list?n=3");
    expect(all.headers.has("Link")).toBe(false);
    expect(await all.json()).toEqual({ name: "b/b", tags: ["1", "10", "2"] });
  });

  it.each([
    ["/v2/_catalog?n=many", 400, "INPUT_INVALID"],
    ["/v2/b/b/tags/list?n=-1", 400, "INPUT_INVALID"],
    ["/v2/nobody/tags/list", 404, "NAME_UNKNOWN"],
  ])("answers %s with %i %s", async (path, status, code) => {
    const response = await get(path);
    expect(response.status).toBe(status);
    expect(await errorOf(response)).toMatchObject({ code });
  });
});

describe("createApp", () => {
  it("says at /v2/ what it speaks", async () => {
    const response = await get("/v2/");
    expect([response.status, response.headers.get("Docker-Distribution-Api-Version")]).toEqual([200, "registry/2.0"]);
  });

  it("answers what it does not know with an OCI error", async () => {
    const response = await app.request("/v2/team/app/", { method: "POST" });
    expect(response.status).toBe(404);
    const message = "Cannot POST /v2/team/app/: there is no such route";
    const requestId = response.headers.get("X-Request-Id");
    expect(await errorOf(response)).toEqual({ code: "UNSUPPORTED", message, detail: { requestId } });
  });

  it("is healthy", async () => {
    expect(await (await get("/healthz")).text()).toBe("ok\n");
  });
});
