/** The service copies images to the targets of its settings: by request, and after loads. */
import { setTimeout } from "node:timers/promises";
import type { Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import type { Action, Token } from "../../src/auth/access.ts";
import { createApp } from "../../src/http/app.ts";
import { StowageError } from "../../src/errors.ts";
import { blobKey } from "../../src/layout/keys.ts";
import { readEntries } from "../../src/layout/read-repository.ts";
import type { Layout as OpenedLayout } from "../../src/layout/layout.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { sha256 } from "../support/bytes.ts";
import { type Layout, joinLayouts, makeLayout, tarOf, types } from "../support/layout.ts";
import { decorate, keysOf } from "../support/loading.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const app1 = makeLayout({ name: "docker.io/team/app:1", layers: [Buffer.alloc(70_000, 1)] });
const other = makeLayout({ name: "docker.io/other/app:1", label: "other" });

let own: MemoryStore;
let us: MemoryStore;
let ap: MemoryStore;
let isDown: boolean;
let log: string[];
let app: Hono;
beforeEach(() => {
  [own, us, ap] = [new MemoryStore(), new MemoryStore(), new MemoryStore()];
  isDown = false;
  log = [];
  app = serve();
});

/** The target `ap` can be down. */
function targetsOf(layout: OpenedLayout): Map<string, OpenedLayout> {
  const refuse = (): void => {
    if (isDown) throw new StowageError("STORE_UNAVAILABLE", "the region is down");
  };
  const fragile: ObjectStore = decorate(ap, {
    head: async (...args) => (refuse(), ap.head(...args)),
    get: async (...args) => (refuse(), ap.get(...args)),
    put: async (...args) => (refuse(), ap.put(...args)),
    list: (...args) => (refuse(), ap.list(...args)),
  });
  return new Map([
    ["us", layout.beside(us)],
    ["ap", layout.beside(fragile)],
  ]);
}

function serve(options: Partial<Parameters<typeof createApp>[0]> = {}): Hono {
  const layout = openLayout(own);
  const copyTargets = targetsOf(layout);
  return createApp({ layout, access: "anyone", copyTargets, report: notesIn(() => log), ...options });
}

interface Answered {
  readonly status: number;
  readonly json: unknown;
}

async function load(
  layout: Layout,
  path = "/v1/load",
  headers: Readonly<Record<string, string>> = {},
): Promise<Answered> {
  return ask(path, { method: "PUT", body: await tarOf(layout), headers });
}

async function copy(json: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answered> {
  return ask("/v1/copy", { method: "POST", body: JSON.stringify(json), headers });
}

async function ask(path: string, init: RequestInit): Promise<Answered> {
  const response = await app.request(path, init);
  return { status: response.status, json: await response.json() };
}

async function digestIn(store: ObjectStore, path: string): Promise<string | null> {
  const target = createApp({ layout: openLayout(store), access: "anyone" });
  const response = await target.request(`/v2/${path}`, { method: "HEAD" });
  return response.headers.get("Docker-Content-Digest");
}

/** A token for `team/*`. Its secret is its name. */
function tokenOf(name: string, allowed: readonly Action[]): Token {
  return {
    name,
    sha256: sha256(Buffer.from(name)).slice("sha256:".length),
    actions: allowed,
    repositories: ["team/*"],
  };
}

describe("POST /v1/copy", () => {
  it("copies images to the named targets, and nothing the second time", async () => {
    await load(joinLayouts(app1, other));
    const asked = { images: ["team/*:*"], to: ["us"] };
    const image = { repository: "team/app", reference: "1", digest: app1.digest };
    const blobs = { copied: { blobs: app1.blobs.size } };
    expect(await copy(asked)).toMatchObject({
      status: 200,
      json: { copies: [{ target: "us", images: [{ ...image, status: "created" }], failures: [], blobs }] },
    });
    expect(await digestIn(us, "team/app/manifests/1")).toBe(app1.digest);
    expect(await digestIn(us, "other/app/manifests/1")).toBeNull();
    expect(await keysOf(ap)).toEqual([]);
    expect(await copy(asked)).toMatchObject({
      status: 200,
      json: { copies: [{ images: [{ ...image, status: "unchanged" }], blobs: { copied: { blobs: 0, bytes: 0 } } }] },
    });
  });

  it("answers 502 with a line for each target if one of them fails, and goes on when it is sent again", async () => {
    await load(app1);
    isDown = true;
    const asked = { images: ["team/app:1"], to: ["us", "ap"] };
    const failure = {
      repository: "team/app",
      reference: "1",
      code: "STORE_UNAVAILABLE",
      message: "the region is down",
    };
    const copies = [
      { target: "us", images: [{ status: "created" }], failures: [] },
      { target: "ap", images: [], failures: [failure] },
    ];
    expect(await copy(asked)).toMatchObject({
      status: 502,
      json: {
        errors: [
          {
            code: "COPY_FAILED",
            message: expect.stringContaining("ap (the region is down)") as string,
            detail: { copies },
          },
        ],
      },
    });
    isDown = false;
    expect(await copy(asked)).toMatchObject({
      status: 200,
      json: { copies: [{ images: [{ status: "unchanged" }] }, { images: [{ status: "created" }] }] },
    });
    expect(await digestIn(ap, "team/app/manifests/1")).toBe(app1.digest);
  });

  it.each([
    [{}, "found nothing as images"],
    [{ images: [], to: ["us"] }, "found no images"],
    [{ images: ["team/app:1"], to: [] }, "found no target"],
    [{ images: ["team/app:1"], to: ["eu"] }, 'found "eu" as a target, expected us or ap'],
    [{ images: ["Team"], to: ["us"] }, 'Cannot use "Team" to choose images'],
    [{ images: ["team/app:1"], to: ["us"], from: "x" }, 'found "from"'],
    [{ images: ["team/app:1"], to: ["us"], platforms: ["arm"] }, 'Cannot use "arm" as a platform'],
  ])("refuses %j", async (json, message) => {
    await load(app1);
    expect(await copy(json)).toMatchObject({
      status: 400,
      json: { errors: [{ code: "INPUT_INVALID", message: expect.stringContaining(message) as string }] },
    });
  });

  it("ends with a 503 when its time is over, and goes on when it is sent again", async () => {
    await load(app1);
    const layout = openLayout(own, { maxLoadSeconds: 0.05 });
    const slow = decorate(us, {
      put: async (key, bytes, options) => {
        if (!key.startsWith("blobs/")) return us.put(key, bytes, options);
        await setTimeout(60_000, undefined, { signal: options?.signal }).catch(() => options?.signal?.throwIfAborted());
        return us.put(key, bytes, options);
      },
    });
    app = serve({ layout, copyTargets: new Map([["us", layout.beside(slow)]]) });
    const asked = { images: ["team/app:1"], to: ["us"] };
    const response = await app.request("/v1/copy", { method: "POST", body: JSON.stringify(asked) });
    expect([response.status, response.headers.get("Retry-After")]).toEqual([503, "10"]);
    expect(await response.json()).toMatchObject({
      errors: [
        {
          code: "INTERRUPTED",
          message: expect.stringMatching(/longest time allowed.*; send the request again to go on$/) as string,
        },
      ],
    });
    app = serve();
    expect(await copy(asked)).toMatchObject({ status: 200, json: { copies: [{ images: [{ status: "created" }] }] } });
  });

  it("names an image that is not there", async () => {
    await load(app1);
    expect(await copy({ images: ["team/app:2"], to: ["us"] })).toMatchObject({
      status: 502,
      json: { errors: [{ detail: { copies: [{ failures: [{ code: "MANIFEST_UNKNOWN" }] }] } }] },
    });
    expect(await copy({ images: ["team/none:*"], to: ["us"] })).toMatchObject({ status: 404 });
  });

  it("needs the right to copy each repository", async () => {
    await load(joinLayouts(app1, other));
    app = serve({
      access: { tokens: [tokenOf("ci", ["copy"]), tokenOf("loader", ["pull", "load"])], anonymousPull: true },
    });
    const one = { images: ["team/app:1"], to: ["us"] };
    expect(await copy(one)).toMatchObject({ status: 401 });
    expect(await copy(one, { Authorization: "Bearer loader" })).toMatchObject({ status: 403 });
    const ci = { Authorization: "Bearer ci" };
    expect(await copy({ ...one, images: ["other/app:1"] }, ci)).toMatchObject({ status: 403 });
    for (const pattern of ["other/*:1", "other/*:2", "none/*:1"]) {
      const error = { code: "MANIFEST_UNKNOWN", message: expect.stringContaining(pattern) as string };
      expect(await copy({ ...one, images: [pattern] }, ci)).toMatchObject({ status: 404, json: { errors: [error] } });
    }
    expect(await keysOf(us)).toEqual([]);
    expect(await copy({ ...one, images: ["**"] }, ci)).toMatchObject({
      status: 200,
      json: { copies: [{ images: [{ repository: "team/app" }] }] },
    });
    expect(await digestIn(us, "other/app/manifests/1")).toBeNull();
  });

  it("lists no more than a limit of manifests and blobs for one request", async () => {
    const layers = Array.from({ length: 2 }, (_, i) => Buffer.from(`${i}`));
    const [config] = [...app1.blobs.keys()].filter((digest) => digest !== app1.digest && !app1.layers.includes(digest));
    expect(config).toBeDefined();
    for (let i = 0; i < 3; i++) {
      const manifest = {
        layers: Array.from({ length: 9000 }, () => ({
          mediaType: types.layer,
          digest: sha256(layers[0] ?? Buffer.of()),
          size: 1,
        })),
      };
      await load(makeLayout({ name: `docker.io/team/many:${i}`, label: `${i}`, layers, manifest }));
    }
    expect(await copy({ images: ["team/many:*"], to: ["us"] })).toMatchObject({
      status: 502,
      json: { errors: [{ detail: { copies: [{ images: { length: 2 }, failures: [{ code: "LIMIT_EXCEEDED" }] }] } }] },
    });
  });
});

describe("a load with targets", () => {
  it("answers when every target has the image", async () => {
    const loaded = await load(app1, "/v1/load?copyTo=us,ap");
    expect(loaded).toMatchObject({
      status: 201,
      json: {
        images: [{ repository: "team/app", status: "created" }],
        copies: [
          { target: "us", images: [{ status: "created", digest: app1.digest }] },
          { target: "ap", images: [{ status: "created", digest: app1.digest }] },
        ],
      },
    });
    for (const store of [us, ap]) expect(await digestIn(store, "team/app/manifests/1")).toBe(app1.digest);
    expect(log).toContainEqual(expect.stringMatching(/^anyone copied to us: 1 images, \d+ bytes; ap: 1 images/));
  });

  it("copies without being asked if the settings say so", async () => {
    app = serve({ copyAfterLoad: ["us"] });
    expect(await load(app1)).toMatchObject({ status: 201, json: { copies: [{ target: "us" }] } });
    expect(await digestIn(us, "team/app/manifests/1")).toBe(app1.digest);
    expect(await keysOf(ap)).toEqual([]);
  });

  it("gives the copies the end of the load, and a later copy takes it away", async () => {
    const endIn = async (store: ObjectStore): Promise<string | undefined> => {
      const entries = await readEntries(openLayout(store), "team/app", { signal: new AbortController().signal });
      return entries[0]?.annotations?.["dev.stowage.expires"];
    };
    const { json } = await load(app1, "/v1/load?copyTo=us&expires=1h");
    const { images } = json as { readonly images: readonly { readonly expires: string }[] };
    expect(await endIn(us)).toBe(images[0]?.expires);
    await load(app1, "/v1/load?copyTo=us&expires=2h");
    expect(await endIn(us)).toBe(await endIn(own));
    expect(await endIn(us)).not.toBe(images[0]?.expires);
    const copied = await copy({ images: ["team/app:1"], to: ["us"] });
    expect(copied.json).toMatchObject({ copies: [{ images: [{ status: "updated" }] }] });
    expect(await endIn(us)).toBeUndefined();
    expect((await copy({ images: ["team/app:1"], to: ["us"] })).json).toMatchObject({
      copies: [{ images: [{ status: "unchanged" }] }],
    });
  });

  it("keeps the image published if a target is down: 502 with the whole receipt", async () => {
    isDown = true;
    const images = [{ repository: "team/app", digest: app1.digest, status: "created" }];
    expect(await load(app1, "/v1/load?copyTo=us,ap")).toMatchObject({
      status: 502,
      json: {
        errors: [
          { code: "COPY_FAILED", detail: { images, copies: [{ target: "us", failures: [] }, { target: "ap" }] } },
        ],
      },
    });
    expect(await digestIn(own, "team/app/manifests/1")).toBe(app1.digest);
    expect(await digestIn(us, "team/app/manifests/1")).toBe(app1.digest);
    isDown = false;
    expect(await load(app1, "/v1/load?copyTo=us,ap")).toMatchObject({
      status: 200,
      json: { copies: [{ images: [{ status: "unchanged" }] }, { images: [{ status: "created" }] }] },
    });
  });

  it("does not move a tag of a target that the settings protect", async () => {
    const region = createApp({ layout: openLayout(us), access: "anyone" });
    await region.request("/v1/load", {
      method: "PUT",
      body: await tarOf(makeLayout({ name: "docker.io/team/app:1" })),
    });
    const before = await digestIn(us, "team/app/manifests/1");
    app = serve({ immutableTags: [{ repository: "**", tag: "1" }] });
    const failures = [{ reference: "1", code: "TAG_IMMUTABLE" }];
    const failed = { status: 502, json: { errors: [{ detail: { copies: [{ target: "us", failures }] } }] } };
    expect(await load(app1, "/v1/load?copyTo=us")).toMatchObject(failed);
    expect(await copy({ images: ["team/app:1"], to: ["us"] })).toMatchObject(failed);
    expect(await digestIn(us, "team/app/manifests/1")).toBe(before);
  });

  it("moves no byte to a target that has all of it", async () => {
    await load(app1, "/v1/load?copyTo=us");
    const layout = openLayout(own);
    const counted = new CountingStore(us);
    app = serve({ layout, copyTargets: new Map([["us", layout.beside(counted)]]) });
    expect(await load(app1, "/v1/load?copyTo=us")).toMatchObject({ status: 200 });
    expect(counted.requests).toMatchObject({ put: 0, part: 0, copy: 0, delete: 0, list: 1 });
  });

  it("needs the right to copy too if the request names the targets", async () => {
    const tokens = [tokenOf("ci", ["load", "copy"]), tokenOf("loader", ["load"])];
    app = serve({ access: { tokens, anonymousPull: false } });
    for (const [name, archive, path, denied] of [
      ["loader", app1, "/v1/load/team/app:1?copyTo=us", /^Cannot copy from "team\/app": the token "loader" does not/],
      ["loader", app1, "/v1/load?copyTo=us", /^Cannot copy: the token "loader" does not allow it$/],
      ["loader", app1, "/v1/load?copyTo=eu", /^Cannot copy: the token "loader" does not allow it$/],
      ["ci", joinLayouts(app1, other), "/v1/load?copyTo=us", /^Cannot copy from "other\/app": the token "ci" does not/],
    ] as const) {
      expect(await load(archive, path, { Authorization: `Bearer ${name}` })).toMatchObject({
        status: 403,
        json: { errors: [{ code: "DENIED", message: expect.stringMatching(denied) as string }] },
      });
    }
    expect((await keysOf(own)).filter((key) => key.endsWith("index.json"))).toEqual([]);
    expect(await keysOf(us)).toEqual([]);
    expect(await load(app1, "/v1/load?copyTo=us", { Authorization: "Bearer ci" })).toMatchObject({ status: 201 });
    expect(await digestIn(us, "team/app/manifests/1")).toBe(app1.digest);
  });

  it("needs only the right to load if the settings name the targets", async () => {
    app = serve({ access: { tokens: [tokenOf("loader", ["load"])], anonymousPull: false }, copyAfterLoad: ["us"] });
    expect(await load(app1, "/v1/load", { Authorization: "Bearer loader" })).toMatchObject({ status: 201 });
    expect(await digestIn(us, "team/app/manifests/1")).toBe(app1.digest);
  });

  it("refuses an unknown target before it reads the body", async () => {
    expect(await load(app1, "/v1/load?copyTo=eu")).toMatchObject({ status: 400 });
    expect(await keysOf(own)).toEqual([]);
  });

  it("copies what the load has found, also if a blob of its own was damaged meanwhile", async () => {
    await load(app1);
    await own.put(blobKey(app1.layers[0] ?? "sha256:"), Buffer.alloc(70_000, 2));
    const asked = { images: ["team/app:1"], to: ["us"] };
    expect(await copy(asked)).toMatchObject({ status: 502 });
    expect(await digestIn(us, "team/app/manifests/1")).toBeNull();
  });
});
