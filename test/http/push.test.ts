/** Pushes, on the app itself: what each request answers, and what is in the store afterwards. Real clients: `clients/push.test.ts`. */
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import type { Token } from "../../src/auth/access.ts";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { createHash } from "node:crypto";
import process from "node:process";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Digest } from "../../src/digest.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type Layout, makeLayout, types } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const host = "http://stowage.test";
const partBytes = 64 * 1024;
const uploads = "/v2/team/app/blobs/uploads/";

let store: MemoryStore;
let app: Hono;

beforeEach(() => {
  store = new MemoryStore({ partBytes });
  app = makeApp();
});

function makeApp(options: Partial<AppOptions> = {}): Hono {
  return createApp({ layout: openLayout(store), access: "anyone", ...options });
}

interface Sent {
  readonly body?: Uint8Array | string | ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly to?: Hono;
}

async function send(method: string, path: string, { body, headers = {}, to = app }: Sent = {}): Promise<Response> {
  const isStream = body instanceof ReadableStream;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const length = isStream || bytes === undefined ? {} : { "Content-Length": String((bytes as Uint8Array).length) };
  const init: RequestInit = { method, headers: { ...length, ...headers }, ...(isStream && { duplex: "half" }) };
  return to.request(`${host}${path}`, bytes === undefined ? init : { ...init, body: bytes as Uint8Array<ArrayBuffer> });
}

/** Begins a session and returns its path. */
async function begin(query = "", to = app): Promise<string> {
  const answer = await send("POST", `${uploads}${query}`, { to });
  expect(answer.status, await answer.clone().text()).toBe(202);
  const location = answer.headers.get("Location") ?? "";
  expect(location).toMatch(/^\/v2\/team\/app\/blobs\/uploads\/[0-9a-f]{16}-[0-9a-f-]{36}-/); // relative, with a UUID
  return location;
}

function streamOf(...chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function errorOf(answer: Response): Promise<{ status: number; code: string; message: string }> {
  const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] };
  return { status: answer.status, code: errors[0]?.code ?? "", message: errors[0]?.message ?? "" };
}

async function keys(prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix)) found.push(key);
  return found;
}

const sha512 = (bytes: Uint8Array): Digest => `sha512:${createHash("sha512").update(bytes).digest("hex")}`;

/** Pushes all blobs of an image, then its manifest. */
async function pushImage(image: Layout, reference: string): Promise<Response> {
  for (const [digest, bytes] of image.blobs) {
    if (digest !== image.digest) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
  }
  return putManifest(image, reference);
}

async function putManifest(image: Layout, reference: string, headers = {}): Promise<Response> {
  const body = image.blobs.get(image.digest) ?? new Uint8Array();
  const path = `/v2/team/app/manifests/${reference}`;
  return send("PUT", path, { body, headers: { "Content-Type": types.manifest, ...headers } });
}

const sizes = [1, 5000, partBytes, partBytes + 1, 3 * partBytes + 7];

describe.each(sizes)("a blob of %i bytes", (size) => {
  const bytes = randomBytes(size, size);
  const half = Math.floor(size / 2);

  const ways: readonly (readonly [string, (digest: Digest) => Promise<Response>])[] = [
    ["in one POST", async (digest) => send("POST", `${uploads}?digest=${digest}`, { body: bytes })],
    ["by POST and PUT", async (digest) => send("PUT", `${await begin()}?digest=${digest}`, { body: bytes })],
    [
      "by POST and a PUT of unknown length",
      async (digest) => send("PUT", `${await begin()}?digest=${digest}`, { body: streamOf(bytes) }),
    ],
    [
      "by one PATCH of unknown length",
      async (digest) => {
        const session = await begin(`?digest-algorithm=${digest.split(":")[0]}`);
        const patched = await send("PATCH", session, { body: streamOf(bytes.subarray(0, half), bytes.subarray(half)) });
        expect([patched.status, patched.headers.get("Range")]).toEqual([202, `0-${size - 1}`]);
        return send("PUT", `${patched.headers.get("Location")}?digest=${digest}`);
      },
    ],
    [
      "in chunks, through two processes",
      async (digest) => {
        const other = makeApp();
        const session = await begin();
        const cuts = [...new Set([0, half, Math.floor((3 * size) / 4), size])];
        for (const [i, start] of cuts.slice(0, -1).entries()) {
          const end = cuts[i + 1] ?? size;
          const headers = { "Content-Range": `${start}-${end - 1}` };
          const to = i % 2 === 0 ? app : other;
          const patched = await send("PATCH", session, { body: bytes.subarray(start, end), headers, to });
          expect([patched.status, patched.headers.get("Range")]).toEqual([202, `0-${end - 1}`]);
          const asked = await send("GET", session, { to: other });
          expect([asked.status, asked.headers.get("Range")]).toEqual([204, `0-${end - 1}`]);
        }
        return send("PUT", `${session}?digest=${digest}`, { to: other });
      },
    ],
    [
      "in chunks, the last one in the PUT",
      async (digest) => {
        const session = await begin();
        if (half > 0) await send("PATCH", session, { body: bytes.subarray(0, half) });
        const headers = { "Content-Range": `${half}-${size - 1}` };
        return send("PUT", `${session}?digest=${digest}`, { body: bytes.subarray(half), headers });
      },
    ],
  ];

  describe.each(ways)("%s", (_, push) => {
    it.each([sha256(bytes), sha512(bytes)])("becomes the blob %s", async (digest) => {
      const answer = await push(digest);
      expect([answer.status, await answer.text()]).toEqual([201, ""]);
      expect(answer.headers.get("Docker-Content-Digest")).toBe(digest);
      expect(answer.headers.get("Location")).toBe(`/v2/team/app/blobs/${digest}`);
      const pulled = await send("GET", answer.headers.get("Location") ?? "");
      expect(Buffer.compare(new Uint8Array(await pulled.arrayBuffer()), bytes)).toBe(0);
      expect(await keys("staging/")).toEqual([]);
    });

    it("is refused with another digest, and stores no blob", async () => {
      const error = await errorOf(await push(sha256(randomBytes(10, 99))));
      expect(error).toMatchObject({ status: 400, code: "DIGEST_INVALID" });
      expect(await keys("blobs/")).toEqual([]);
    });
  });
});

describe("a session", () => {
  const bytes = randomBytes(1000, 1);
  const digest = sha256(bytes);

  it("costs no object before its first byte, nor for an empty chunk", async () => {
    const session = await begin();
    expect((await send("PATCH", session, { body: "" })).status).toBe(202);
    expect(await keys()).toEqual([]);
  });

  it.each([
    ["too early", "0-99"],
    ["too late", "200-299"],
  ])("refuses a chunk that begins %s, and says what is there", async (_, range) => {
    const session = await begin();
    await send("PATCH", session, { body: bytes.subarray(0, 100) });
    const before = await keys();
    const refused = await send("PATCH", session, {
      body: bytes.subarray(100, 200),
      headers: { "Content-Range": range },
    });
    expect([refused.status, refused.headers.get("Range")]).toEqual([416, "0-99"]);
    expect(refused.headers.get("Location")).toBe(session);
    expect(await errorOf(refused)).toMatchObject({ code: "RANGE_INVALID" });
    expect(await keys()).toEqual(before);
  });

  it("reads a chunk out of order to its end before it answers", async () => {
    const chunks = [bytes.subarray(100, 150), bytes.subarray(150, 200)];
    let isRead = false;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const chunk = chunks.shift();
          if (chunk !== undefined) controller.enqueue(chunk);
          else {
            isRead = true;
            controller.close();
          }
        },
      },
      { highWaterMark: 0 },
    );
    const headers = { "Content-Range": "100-199" };
    expect((await send("PATCH", await begin(), { body, headers })).status).toBe(416);
    expect(isRead).toBe(true);
  });

  it.each(["5-1", "a-b", "0", "0-99,200-299"])("refuses Content-Range: %s", async (range) => {
    const answer = await send("PATCH", await begin(), { body: bytes, headers: { "Content-Range": range } });
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: "SIZE_INVALID" });
  });

  it("takes one of two chunks that come at once", async () => {
    const session = await begin();
    const patch = async (): Promise<Response> => {
      return send("PATCH", session, { body: bytes, headers: { "Content-Range": "0-999" } });
    };
    const answers = await Promise.all([patch(), patch(), patch()]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([202, 416, 416]);
    expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201);
    expect(await keys("staging/")).toEqual([]);
  });

  it("keeps nothing of a chunk that breaks off, and goes on from where it was", async () => {
    const session = await begin();
    await send("PATCH", session, { body: bytes.subarray(0, 100) });
    const before = await keys("staging/");
    const broken = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(bytes.subarray(100, 500)),
      pull: (controller) => controller.error(new Error("the client is gone")),
    });
    expect(await errorOf(await send("PATCH", session, { body: broken }))).toMatchObject({ code: "INTERRUPTED" });
    expect(await keys("staging/")).toEqual(before);
    expect((await send("GET", session)).headers.get("Range")).toBe("0-99");
    expect((await send("PUT", `${session}?digest=${digest}`, { body: bytes.subarray(100) })).status).toBe(201);
  });

  it("is over after its end, and its end can be repeated", async () => {
    const session = await begin();
    await send("PATCH", session, { body: bytes });
    expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201);
    expect((await send("PUT", `${session}?digest=${digest}`)).status).toBe(201);
    const other = await send("PUT", `${session}?digest=${sha256(randomBytes(5, 5))}`);
    expect(await errorOf(other)).toMatchObject({ status: 404, code: "BLOB_UPLOAD_UNKNOWN" });
  });

  it("can be cancelled", async () => {
    const session = await begin();
    await send("PATCH", session, { body: bytes });
    expect((await send("DELETE", session)).status).toBe(204);
    expect(await keys("staging/")).toEqual([]);
  });

  it("takes an empty blob without a byte", async () => {
    const empty = sha256(new Uint8Array());
    expect((await send("PUT", `${await begin()}?digest=${empty}`)).status).toBe(201);
    expect((await send("GET", `/v2/team/app/blobs/${empty}`)).headers.get("Content-Length")).toBe("0");
  });

  it("belongs to its caller and its repository alone", async () => {
    const token = (name: string): Token => ({
      name,
      sha256: createHash("sha256").update(name).digest("hex"),
      actions: ["load"],
      repositories: ["**"],
    });
    const guarded = makeApp({ access: { tokens: [token("a"), token("b")], anonymousPull: false } });
    const as = (name: string) => ({ headers: { Authorization: `Bearer ${name}` }, to: guarded });
    const session = (await send("POST", uploads, as("a"))).headers.get("Location") ?? "";
    expect((await send("GET", session, as("a"))).status).toBe(204);
    const strangers = [
      await send("GET", session, as("b")),
      await send("PATCH", session, { ...as("b"), body: bytes }),
      await send("PUT", `${session}?digest=${digest}`, { ...as("b"), body: bytes }),
      await send("DELETE", session, as("b")),
      await send("GET", session.replace("team/app", "team/other"), as("a")),
      await send("GET", session.replace("-sha256", "-sha512"), as("a")),
      await send("GET", `${uploads}x`, as("a")),
    ];
    for (const answer of strangers) expect(await errorOf(answer)).toMatchObject({ code: "BLOB_UPLOAD_UNKNOWN" });
    expect((await send("GET", session, { to: guarded })).status).toBe(401);
  });

  it("refuses a blob that is longer than the limit, in each way", async () => {
    const limited = createApp({ layout: openLayout(store, { maxBlobBytes: 500 }), access: "anyone" });
    const session = await begin("", limited);
    const to = { to: limited };
    const whole = await send("POST", `${uploads}?digest=${digest}`, { ...to, body: bytes });
    const stream = await send("PATCH", session, { ...to, body: streamOf(bytes.subarray(0, 400), bytes.subarray(400)) });
    await send("PATCH", session, { ...to, body: bytes.subarray(0, 400) });
    const second = await send("PATCH", session, { ...to, body: bytes.subarray(400, 600) });
    for (const answer of [whole, stream, second]) {
      expect(await errorOf(answer)).toMatchObject({ status: 413, code: "LIMIT_EXCEEDED" });
    }
    expect((await send("GET", session, to)).headers.get("Range")).toBe("0-399");
    await send("DELETE", session, to);
    expect(await keys("staging/")).toEqual([]);
  });

  it.each(["sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "sha256:x", "", "nonsense"])(
    "refuses to end with the digest %j",
    async (wrong) => {
      const answer = await send("PUT", `${await begin()}?digest=${encodeURIComponent(wrong)}`, { body: bytes });
      expect(answer.status, await answer.text()).toBe(400);
    },
  );
});

describe("a caller that may load, and not pull", () => {
  const image = makeLayout({ layers: [randomBytes(1000, 1)] });
  const asLoader = (): { to: Hono; headers: Record<string, string> } => {
    const token = { name: "a", sha256: createHash("sha256").update("a").digest("hex"), actions: ["load"] as const };
    const tokens: Token[] = [{ ...token, repositories: ["team/app"] }];
    return { to: makeApp({ access: { tokens, anonymousPull: false } }), headers: { Authorization: "Bearer a" } };
  };

  it.each([`blobs/${image.layers[0]}`, "manifests/1.4", `manifests/${image.digest}`])(
    "may ask by HEAD what is there, and gets no byte: %s",
    async (path) => {
      const loader = asLoader();
      expect((await send("HEAD", `/v2/team/app/${path}`, loader)).status).toBe(404);
      await pushImage(image, "1.4");
      expect((await send("HEAD", `/v2/team/app/${path}`, loader)).status).toBe(200);
      expect(await errorOf(await send("GET", `/v2/team/app/${path}`, loader))).toMatchObject({ code: "DENIED" });
      expect((await send("HEAD", `/v2/team/other/${path}`, loader)).status).toBe(403);
    },
  );
});

describe("a mount", () => {
  const bytes = randomBytes(1000, 1);
  const digest = sha256(bytes);

  it("is 201 for a blob that is there, and begins a session for one that is not", async () => {
    expect((await send("POST", `${uploads}?mount=${digest}&from=team/other`)).status).toBe(202);
    await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const mounted = await send("POST", `${uploads}?mount=${digest}&from=team/other`);
    expect([mounted.status, mounted.headers.get("Location")]).toEqual([201, `/v2/team/app/blobs/${digest}`]);
    expect((await send("POST", `${uploads}?mount=${digest}`)).status).toBe(201);
  });

  it("reads the name of the other repository as in a path: library/app is app", async () => {
    await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const mayPull = async (repository: string): Promise<boolean> => {
      const sum = createHash("sha256").update("a").digest("hex");
      const repositories = ["team/app", repository];
      const tokens: Token[] = [{ name: "a", sha256: sum, actions: ["load", "pull"], repositories }];
      const to = makeApp({ access: { tokens, anonymousPull: false } });
      const headers = { Authorization: "Bearer a" };
      const answer = await send("POST", `${uploads}?mount=${digest}&from=library/app`, { headers, to });
      return answer.status === 201;
    };
    expect([await mayPull("app"), await mayPull("library/*")]).toEqual([true, false]);
  });

  it("tells nothing to a caller that may not pull there", async () => {
    await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const tokens: Token[] = [
      {
        name: "a",
        sha256: createHash("sha256").update("a").digest("hex"),
        actions: ["load"],
        repositories: ["team/app"],
      },
    ];
    const to = makeApp({ access: { tokens, anonymousPull: false } });
    const headers = { Authorization: "Bearer a" };
    expect((await send("POST", `${uploads}?mount=${digest}&from=team/other`, { headers, to })).status).toBe(202);
    expect((await send("POST", `${uploads}?mount=${digest}`, { headers, to })).status).toBe(202);
  });
});

describe("a manifest", () => {
  it("that names many blobs makes Node warn of nothing", async () => {
    const warnings: Error[] = [];
    const keep = (warning: Error): void => void warnings.push(warning);
    process.on("warning", keep);
    const image = makeLayout({ layers: Array.from({ length: 64 }, (_, i) => randomBytes(100 + i)) });
    expect((await pushImage(image, "1")).status).toBe(201);
    await nextTurn(); // Node sends its warnings then
    process.off("warning", keep);
    expect(warnings).toEqual([]);
  });

  const image = makeLayout({ layers: [randomBytes(1000, 1)] });

  it("is published by tag and by digest, byte for byte", async () => {
    const answer = await pushImage(image, "1.4");
    expect([answer.status, await answer.text()]).toEqual([201, ""]);
    expect(answer.headers.get("Location")).toBe(`/v2/team/app/manifests/${image.digest}`);
    expect(answer.headers.get("Docker-Content-Digest")).toBe(image.digest);
    for (const reference of ["1.4", image.digest]) {
      const pulled = await send("GET", `/v2/team/app/manifests/${reference}`);
      expect(pulled.headers.get("Content-Type")).toBe(types.manifest);
      expect(Buffer.from(await pulled.arrayBuffer())).toEqual(image.blobs.get(image.digest));
    }
  });

  it("gets the tags of the query when it is pushed by digest", async () => {
    const answer = await pushImage(image, `${image.digest}?tag=1&tag=1.4&tag=1`);
    expect(answer.headers.get("OCI-Tag")).toBe("1, 1.4");
    const listed = await send("GET", "/v2/team/app/tags/list");
    expect(await listed.json()).toMatchObject({ tags: ["1", "1.4"] });
  });

  it("keeps Docker's media type", async () => {
    const docker = makeLayout({ manifest: { mediaType: types.dockerManifest } });
    for (const [digest, bytes] of docker.blobs) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const answer = await putManifest(docker, "1", { "Content-Type": types.dockerManifest });
    expect(answer.status).toBe(201);
    expect((await send("HEAD", "/v2/team/app/manifests/1")).headers.get("Content-Type")).toBe(types.dockerManifest);
  });

  it("is refused without its blobs, and publishes nothing", async () => {
    const answer = await putManifest(image, "1.4");
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: "MANIFEST_BLOB_UNKNOWN" });
    expect(await keys("blobs/")).toEqual([]);
    expect((await send("GET", "/v2/team/app/manifests/1.4")).status).toBe(404);
  });

  const manifest = image.blobs.get(image.digest) ?? Buffer.alloc(0);
  const schema1 = JSON.stringify({ schemaVersion: 1, name: "a", tag: "b", fsLayers: [], history: [], signatures: [] });
  const schema1Type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
  const wrong: readonly (readonly [string, string, string | Uint8Array, string, number, string, RegExp])[] = [
    ["another digest", `sha256:${"0".repeat(64)}`, manifest, types.manifest, 400, "DIGEST_INVALID", /have digest/],
    ["a broken digest", "sha256:abc", manifest, types.manifest, 400, "DIGEST_INVALID", /as a digest/],
    ["an unknown algorithm", "sha1:abc", manifest, types.manifest, 400, "UNSUPPORTED", /as a digest/],
    ["a broken tag", "-1", manifest, types.manifest, 400, "NAME_INVALID", /as a tag/],
    ["another media type", "1", manifest, types.index, 400, "MANIFEST_INVALID", /it was sent as/],
    ["no JSON", "1", "nonsense", types.manifest, 400, "MANIFEST_INVALID", /JSON/],
    ["no byte", "1", "", types.manifest, 400, "MANIFEST_INVALID", /JSON/],
    ["Docker's schema 1", "1", schema1, schema1Type, 400, "UNSUPPORTED", /schema 1/],
  ];

  it.each(wrong)("is refused with %s", async (_, reference, body, type, status, code, message) => {
    for (const [digest, bytes] of image.blobs) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const answer = await send("PUT", `/v2/team/app/manifests/${reference}`, {
      body,
      headers: { "Content-Type": type },
    });
    const error = await errorOf(answer);
    expect(error).toMatchObject({ status, code });
    expect(error.message).toMatch(message);
    expect(await keys("repositories/")).toEqual([]);
  });

  it("is refused above the limit", async () => {
    const limited = createApp({ layout: openLayout(store, { maxManifestBytes: 100 }), access: "anyone" });
    const path = "/v2/team/app/manifests/1";
    expect((await send("PUT", path, { to: limited, body: manifest })).status).toBe(413);
    expect((await send("PUT", path, { to: limited, body: streamOf(manifest) })).status).toBe(413);
  });

  it("answers with its subject, and is listed as a referrer", async () => {
    await pushImage(image, "1.4");
    const subject = { mediaType: types.manifest, digest: image.digest, size: manifest.length };
    const signature = makeLayout({ subject, label: "signature", manifest: { artifactType: "application/vnd.test" } });
    const answer = await pushImage(signature, signature.digest);
    expect([answer.status, answer.headers.get("OCI-Subject")]).toEqual([201, image.digest]);
    const referrers = (await (await send("GET", `/v2/team/app/referrers/${image.digest}`)).json()) as {
      manifests: { digest: string }[];
    };
    expect(referrers.manifests.map(({ digest }) => digest)).toEqual([signature.digest]);
  });

  it("moves a tag only under its condition", async () => {
    const other = makeLayout({ label: "other" });
    expect((await pushImage(image, "1")).status).toBe(201);
    for (const [digest, bytes] of other.blobs) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    expect((await putManifest(other, "1", { "If-None-Match": "*" })).status).toBe(412);
    expect((await putManifest(other, "1", { "If-Match": `"${other.digest}"` })).status).toBe(412);
    expect((await putManifest(other, "1", { "If-Match": `"${image.digest}"` })).status).toBe(201);
  });

  it("moves the tags of its query only under its condition when it is pushed by digest", async () => {
    const other = makeLayout({ label: "other" });
    expect((await pushImage(image, "1")).status).toBe(201);
    for (const [digest, bytes] of other.blobs) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    const byDigest = `${other.digest}?tag=1`;
    expect((await putManifest(other, byDigest, { "If-None-Match": "*" })).status).toBe(412);
    expect((await putManifest(other, byDigest, { "If-Match": `"${other.digest}"` })).status).toBe(412);
    expect((await send("HEAD", "/v2/team/app/manifests/1")).headers.get("ETag")).toBe(`"${image.digest}"`);
    expect((await putManifest(other, byDigest, { "If-Match": `"${image.digest}"` })).status).toBe(201);
  });

  it("never moves an immutable tag of its query, and then publishes nothing", async () => {
    app = makeApp({ immutableTags: [{ repository: "team/**", tag: "v*" }] });
    const other = makeLayout({ label: "other" });
    expect((await pushImage(image, "v1")).status).toBe(201);
    for (const reference of ["2?tag=v1", `${other.digest}?tag=2&tag=v1`]) {
      expect(await errorOf(await pushImage(other, reference))).toMatchObject({ status: 409, code: "TAG_IMMUTABLE" });
    }
    const listed = await send("GET", "/v2/team/app/tags/list");
    expect(await listed.json()).toMatchObject({ tags: ["v1"] });
  });

  it("may have parameters in its media type", async () => {
    const type = `${types.manifest} ; charset=utf-8`;
    await pushImage(image, "1");
    expect((await putManifest(image, "2", { "Content-Type": type })).status).toBe(201);
  });

  it("never moves an immutable tag, and may be pushed to it again", async () => {
    app = makeApp({ immutableTags: [{ repository: "team/**", tag: "v*" }] });
    const other = makeLayout({ label: "other" });
    expect((await pushImage(image, "v1")).status).toBe(201);
    expect((await pushImage(image, "v1")).status).toBe(201);
    expect(await errorOf(await pushImage(other, "v1"))).toMatchObject({ status: 409, code: "TAG_IMMUTABLE" });
  });
});

describe("a gc", () => {
  const image = makeLayout({ layers: [randomBytes(1000, 1)] });
  const [layer = ""] = image.layers;

  /** A run of gc, this many hours from now. */
  const collect = async (hours: number): Promise<unknown> =>
    collectGarbage(openLayout(store, undefined, clockAfter(hours * hour)), { graceMs: 2 * hour });

  const questions: readonly (readonly [string, (to: Hono) => Promise<Response>, number])[] = [
    ["a HEAD", async (to) => send("HEAD", `/v2/team/app/blobs/${layer}`, { to }), 200],
    ["a mount", async (to) => send("POST", `${uploads}?mount=${layer}`, { to }), 201],
    [
      "another push",
      async (to) => send("POST", `${uploads}?digest=${layer}`, { to, body: image.blobs.get(layer as Digest) ?? "" }),
      201,
    ],
  ];

  it.each(questions)("spares a blob that %s has found", async (_, ask, status) => {
    await send("POST", `${uploads}?digest=${layer}`, { body: image.blobs.get(layer as Digest) ?? "" });
    await collect(0); // condemns the blob
    expect((await ask(app)).status).toBe(status);
    await collect(3); // would delete it
    expect((await send("HEAD", `/v2/team/app/blobs/${layer}`)).status).toBe(200);
  });

  it("ends a session that is older than two days", async () => {
    const bytes = image.blobs.get(layer as Digest) ?? new Uint8Array();
    const session = await begin();
    await send("PATCH", session, { body: bytes });
    await collect(47);
    expect((await send("GET", session)).headers.get("Range")).toBe(`0-${bytes.length - 1}`);
    await collect(49);
    expect(await keys("staging/")).toEqual([]);
    expect(await errorOf(await send("PUT", `${session}?digest=${layer}`))).toMatchObject({
      code: "BLOB_UPLOAD_UNKNOWN",
    });
  });

  it("takes a blob for which only a puller has asked", async () => {
    await send("POST", `${uploads}?digest=${layer}`, { body: image.blobs.get(layer as Digest) ?? "" });
    await collect(0);
    const puller = makeApp({ access: { tokens: [], anonymousPull: true } });
    expect((await send("HEAD", `/v2/team/app/blobs/${layer}`, { to: puller })).status).toBe(200);
    await collect(3);
    expect((await send("HEAD", `/v2/team/app/blobs/${layer}`)).status).toBe(404);
  });

  it("between the blobs and their manifest is told to the client, which sends them again", async () => {
    for (const [digest, bytes] of image.blobs) await send("POST", `${uploads}?digest=${digest}`, { body: bytes });
    await collect(0);
    await collect(3);
    expect(await errorOf(await putManifest(image, "1"))).toMatchObject({ code: "MANIFEST_BLOB_UNKNOWN" });
    expect((await pushImage(image, "1")).status).toBe(201);
  });
});
