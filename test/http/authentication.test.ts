import { type Context, Hono } from "hono";
import { beforeEach, describe, expect, it } from "vitest";
import { type AccessRules, type Token, anyone } from "../../src/auth/access.ts";
import { Answers } from "../../src/http/answers.ts";
import { createApp, routesOf } from "../../src/http/app.ts";
import type { Service } from "../../src/http/service.ts";
import { StowageError } from "../../src/errors.ts";
import { ForwardingStore } from "../../src/storage/forwarding-store.ts";
import { CountingStore } from "../../src/storage/counting-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { Line } from "../../src/streams/line.ts";
import { readableToBytes } from "../../src/streams/readable-stream.ts";
import { WatchedSource } from "../../src/streams/watched-source.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const layer = randomBytes(1000);
const layout = makeLayout({ layers: [layer], name: "team/app:1" });
const otherLayout = makeLayout({ layers: [layer], name: "other/app:1", label: "other" });
const manifest = "/v2/team/app/manifests/1";

function tokenOf(name: string, rights: Partial<Token> = {}): Token {
  const digest = sha256(Buffer.from(secretOf(name))).slice("sha256:".length);
  return { name, sha256: digest, actions: ["pull", "load"], repositories: ["**"], ...rights };
}

function secretOf(name: string): string {
  return `secret-of-${name}`;
}

function basic(name: string, user = "anybody"): string {
  return basicOf(`${user}:${secretOf(name)}`);
}

function basicOf(text: string): string {
  return `Basic ${Buffer.from(text).toString("base64")}`;
}

const rules: AccessRules = {
  tokens: [
    tokenOf("all"),
    tokenOf("reader", { actions: ["pull"] }),
    tokenOf("loader", { actions: ["load"] }),
    tokenOf("team", { repositories: ["team/*"] }),
    tokenOf("p:ss wörd"),
  ],
  anonymousPull: false,
};

let store: CountingStore;
let app: Hono;
let log: string[];
beforeEach(async () => {
  store = new CountingStore(new MemoryStore());
  log = [];
  app = serve(rules);
  expect((await load(basic("all"))).status).toBe(201);
});

function serve(access: AccessRules | (() => Promise<AccessRules>)): Hono {
  return createApp({ layout: openLayout(store), access, report: notesIn(() => log) });
}

async function get(path: string, authorization?: string): Promise<Response> {
  return app.request(path, { headers: headersOf(authorization) });
}

async function load(authorization?: string, path = "/v1/load", image = layout): Promise<Response> {
  return app.request(path, { method: "PUT", headers: headersOf(authorization), body: await tarOf(image) });
}

function headersOf(authorization: string | undefined): Record<string, string> {
  return authorization === undefined ? {} : { Authorization: authorization };
}

async function expectError(response: Response, status: number, code: string, message?: RegExp): Promise<void> {
  const body: unknown = await response.json();
  expect(body).toMatchObject({ errors: [{ code, ...(message && { message: expect.stringMatching(message) }) }] });
  expect(response.status).toBe(status);
  expect(response.headers.get("WWW-Authenticate")).toBe(status === 401 ? 'Basic realm="Stowage"' : null);
}

describe("authenticate", () => {
  it.each([
    ["as a Bearer token", `Bearer ${secretOf("all")}`],
    ["whatever the case of the scheme", `bearer ${secretOf("all")}`],
    ["as a password", basic("all")],
    ["whoever the user is", basic("all", "")],
    ["with a colon, a space and an umlaut in it", basic("p:ss wörd")],
  ])("takes a token %s", async (_, authorization) => {
    expect((await get(manifest, authorization)).status).toBe(200);
  });

  it.each([
    ["one that is unknown", "Bearer wrong"],
    ["an unknown password", basicOf("anybody:wrong")],
    ["a token as the user name", basicOf(`${secretOf("all")}:`)],
    ["a token without a user", basicOf(secretOf("all"))],
    ["the token's name", "Bearer all"],
    ["the digest that the settings hold", `Bearer ${rules.tokens[0]?.sha256}`],
    ["a token in another form", `Token ${secretOf("all")}`],
    ["none after the scheme", "Bearer"],
    ["an empty header", ""],
    ["no Base64", "Basic ::::"],
  ])("answers 401 to %s, with anonymous pull too", async (_, authorization) => {
    for (const anonymousPull of [false, true]) {
      app = serve({ ...rules, anonymousPull });
      for (const path of ["/v2/", manifest, "/v2/_catalog"]) {
        await expectError(await get(path, authorization), 401, "UNAUTHORIZED");
      }
      await expectError(await load(authorization), 401, "UNAUTHORIZED");
    }
  });

  it("asks for a token at /v2/ although all may pull, so that podman shows its own", async () => {
    app = serve({ ...rules, anonymousPull: true });
    const answers = await Promise.all([get("/v2/"), get("/v2/", basic("all")), get(manifest)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.map(({ headers }) => headers.get("WWW-Authenticate"))).toEqual([
      'Basic realm="Stowage"',
      null,
      null,
    ]);
  });

  it("takes an empty name and password, which some clients send, for nobody", async () => {
    await expectError(await get(manifest, "Basic Og=="), 401, "UNAUTHORIZED", /without a token/);
    app = serve({ ...rules, anonymousPull: true });
    expect((await get(manifest, "Basic Og==")).status).toBe(200);
  });

  it("refuses a token from its end on, and says when that was", async () => {
    const expires = new Date(Date.now() - 1);
    app = serve({ ...rules, tokens: [tokenOf("all", { expires })], anonymousPull: true });
    const message = /^Cannot accept the token "all": it expired at .*Z; the operator of the service can renew it$/;
    await expectError(await get(manifest, basic("all")), 401, "UNAUTHORIZED", message);
    app = serve({ ...rules, tokens: [tokenOf("all", { expires: new Date(Date.now() + 3_600_000) })] });
    expect((await get(manifest, basic("all"))).status).toBe(200);
  });

  it("asks a function for the rights at each request", async () => {
    let tokens = [tokenOf("all")];
    app = serve(async () => Promise.resolve({ tokens, anonymousPull: false }));
    expect((await get(manifest, basic("all"))).status).toBe(200);
    tokens = [tokenOf("other")];
    await expectError(await get(manifest, basic("all")), 401, "UNAUTHORIZED", /there is no such token$/);
    expect((await get(manifest, basic("other"))).status).toBe(200);
  });

  it("logs the token's name with a load, and no secret", async () => {
    await load(basic("team"));
    await load("Bearer wrong-secret");
    await load(basic("reader"));
    expect(log).toEqual([
      expect.stringMatching(/^all loaded team\/app:1 created /),
      expect.stringMatching(/^team loaded team\/app:1 unchanged /),
      expect.stringMatching(/^unknown PUT \/v1\/load 401 UNAUTHORIZED: /),
      expect.stringMatching(/^reader PUT \/v1\/load 403 DENIED: /),
    ]);
    expect(log.join()).not.toContain("secret");
  });

  it("asks in somebody's own app too, and there only below its path", async () => {
    const outer = new Hono();
    outer.use(async (c, next) => {
      c.set("caller" as never, "somebody" as never);
      await next();
    });
    outer.get("/", (c) => c.text("mine"));
    outer.route("/images", app);
    expect((await outer.request("/", { headers: { Authorization: "Bearer of-my-own" } })).status).toBe(200);
    await expectError(await outer.request(`/images${manifest}`), 401, "UNAUTHORIZED");
    const headers = { Authorization: basic("all") };
    expect((await outer.request(`/images${manifest}`, { headers })).status).toBe(200);
  });

  it("asks nobody where the app is told so", async () => {
    app = createApp({ layout: openLayout(store), access: "anyone", report: notesIn(() => log) });
    expect((await get(manifest, "Bearer wrong")).status).toBe(200);
    expect((await load()).status).toBe(200);
    expect(log.at(-1)).toMatch(/^anyone loaded /);
  });
});

/** A request for each route that asks; what its path needs is made up. */
const requests = routesOf(serviceOf(new MemoryStore()))
  .filter(({ needs }) => needs !== "nothing")
  .flatMap(({ methods, path }) => methods.map((method) => [method, path.replaceAll(/<\w+>/g, fillIn)] as const));

function fillIn(placeholder: string): string {
  const values: Record<string, string> = { "<name>": "team/app", "<image>": "team/app:1", "<digest>": sha256(layer) };
  return values[placeholder] ?? "1";
}

function serviceOf(of: MemoryStore): Service {
  const watchBody = (c: Context): WatchedSource => new WatchedSource(readableToBytes(c.req.raw.body));
  const none = { maxRequestBytes: undefined, maxResponseBytes: undefined, redirectBlobs: false, immutableTags: [] };
  const copying = {
    copies: new Line({ capacity: 1, units: "copies", limit: "maxCopies" }),
    copyTargets: new Map(),
    copyAfterLoad: [],
  };
  const turns = new Line({ capacity: 1, units: "loads", limit: "maxLoads" });
  const opened = openLayout(of);
  const ignore = (): void => undefined;
  const answers = new Answers(opened);
  return {
    layout: opened,
    ...none,
    ...copying,
    loads: turns,
    parts: turns,
    pushes: turns,
    answers,
    catalogs: turns,
    findCaller: async () => anyone,
    watchBody,
    signal: undefined,
    metrics: undefined,
    report: ignore,
  };
}

/** With each way to spell a path or a name wrong, or a query. */
const spellings = ["", "?x=1", "/..%2f", "//", "%00", "/%E0%A4%A", `/${"a/".repeat(5000)}`, "/".repeat(5000), "A"];

describe("every route", () => {
  it("is among them", () => {
    expect(requests.map(([method, path]) => `${method} ${path}`)).toEqual(
      expect.arrayContaining(["PUT /v1/load", "GET /v2/", "DELETE /v2/team/app/manifests/1", "POST /v1/uploads"]),
    );
    expect(requests.length).toBeGreaterThan(15);
  });

  it.each(requests)("asks before it looks anything up: %s %s", async (method, path) => {
    const before = { ...store.requests };
    const send = async (authorization?: string): Promise<Response> => {
      const body = method === "GET" ? {} : { body: '{"size":1,"digests":[]}' };
      return app.request(path, { method, headers: headersOf(authorization), ...body });
    };
    await expectError(await send(), 401, "UNAUTHORIZED");
    await expectError(await send("Bearer wrong"), 401, "UNAUTHORIZED");
    if (path !== "/v2/") {
      const isRead = ["GET", "HEAD", "DELETE"].includes(method) && !path.includes("/blobs/uploads/");
      const isPull = (path.startsWith("/v2/") && isRead) || path.startsWith("/v1/export/");
      const unfit = isPull ? "loader" : "reader";
      await expectError(await send(basic(unfit)), 403, "DENIED");
    }
    expect(store.requests).toEqual(before);
  });

  it.each(requests)("asks whatever is wrong with the request: %s %s", async (method, path) => {
    const before = { ...store.requests };
    for (const spelling of spellings) {
      for (const wrong of [`${path}${spelling}`, `${path.slice(0, 4)}${spelling}${path.slice(4)}`]) {
        const body = method === "GET" ? {} : { body: "{" };
        for (const authorization of [undefined, "Bearer wrong"]) {
          const response = await app.request(wrong, { method, headers: headersOf(authorization), ...body });
          expect(response.status, `${method} ${wrong.slice(0, 200)}`).toBe(401);
        }
      }
    }
    expect(store.requests).toEqual(before);
  });

  it("but /healthz, which is open", async () => {
    expect((await get("/healthz")).status).toBe(200);
    expect((await get("/healthz", "Bearer wrong")).status).toBe(200);
  });
});

describe("authorize", () => {
  it("lets whoever has a token try it out, whatever it is good for", async () => {
    for (const { name } of rules.tokens) expect((await get("/v2/", basic(name))).status).toBe(200);
    await expectError(await get("/v2/"), 401, "UNAUTHORIZED");
  });

  it("answers 403 to a token that is not good for the repository, whether that is there or not", async () => {
    const denied = /^Cannot pull from "\w+\/app": the token "team" does not allow it$/;
    await load(basic("all"), "/v1/load", otherLayout);
    for (const name of ["other/app", "unknown/app"]) {
      for (const path of ["manifests/1", "tags/list", `blobs/${sha256(layer)}`]) {
        await expectError(await get(`/v2/${name}/${path}`, basic("team")), 403, "DENIED", denied);
      }
    }
    expect((await get(manifest, basic("team"))).status).toBe(200);
  });

  it("holds a repository's own name against the patterns", async () => {
    app = serve({ ...rules, tokens: [tokenOf("library", { repositories: ["library/**"] })] });
    await expectError(await get("/v2/library/app/manifests/1", basic("library")), 403, "DENIED", /pull from "app"/);
  });

  it("shows in the catalog what may be pulled, page by page", async () => {
    await load(basic("all"), "/v1/load/a");
    await load(basic("all"), "/v1/load/team/b");
    await load(basic("all"), "/v1/load/z");
    expect(await (await get("/v2/_catalog", basic("all"))).json()).toEqual({
      repositories: ["a", "team/app", "team/b", "z"],
    });
    const page = await get("/v2/_catalog?n=1", basic("team"));
    expect(await page.json()).toEqual({ repositories: ["team/app"] });
    expect(page.headers.get("Link")).toBe('</v2/_catalog?n=1&last=team%2Fapp>; rel="next"');
    const last = await get("/v2/_catalog?n=1&last=team%2Fapp", basic("team"));
    expect(await last.json()).toEqual({ repositories: ["team/b"] });
    expect(last.headers.get("Link")).toBeNull();
  });

  it("with anonymous pull lets nobody pull everything, and load nothing", async () => {
    app = serve({ ...rules, anonymousPull: true });
    for (const path of ["/v2/", manifest, "/v2/_catalog", "/v2/team/app/tags/list"]) {
      expect((await get(path)).status).toBe(200);
    }
    await expectError(await load(), 401, "UNAUTHORIZED", /^Cannot load without a token: expected one as Bearer, /);
  });
});

describe("a failure of the store", () => {
  /** What only the operator is to see. */
  const inside = "s3://secret-bucket/prefix/blobs/sha256/ab and /srv/secret";
  const errors = [
    new StowageError("STORE_UNAVAILABLE", `GetObject failed at ${inside}`, { detail: { store: inside } }),
    new StowageError("STORE_DAMAGED", `Cannot read the index "${inside}"`, { detail: { key: inside } }),
    new Error(inside),
  ];

  class FailingStore extends ForwardingStore {
    failure: Error = new Error("none");

    override async get(): Promise<never> {
      return Promise.reject(this.failure);
    }
    override async head(): Promise<never> {
      return Promise.reject(this.failure);
    }
  }

  it.each(errors)("is told to the log alone, where the caller shows no token: %s", async (failure) => {
    const failing = new FailingStore(new MemoryStore());
    failing.failure = failure;
    log = [];
    app = createApp({
      layout: openLayout(failing),
      access: { ...rules, anonymousPull: true },
      report: notesIn(() => log),
    });
    const parts = "/v1/uploads/00000000000000000000000000000000/parts/1?key=1";
    const asked: [path: string, method?: string][] = [
      [manifest],
      [`/v2/team/app/blobs/${sha256(layer)}`],
      ["/v2/team/app/tags/list"],
      ["/v2/_catalog"],
      [`/v2/team/app/referrers/${sha256(layer)}`],
      [parts, "PUT"],
    ];
    for (const [path, method = "GET"] of asked) {
      const response = await app.request(path, { method, ...(method === "PUT" && { body: "x" }) });
      const text = await response.text();
      expect([path, response.status >= 500, text]).toEqual([path, true, expect.not.stringContaining("secret")]);
      expect(JSON.parse(text)).toEqual({
        errors: [
          {
            code: expect.any(String) as string,
            message: expect.any(String) as string,
            detail: { requestId: response.headers.get("X-Request-Id") },
          },
        ],
      });
      expect(log.at(-1)).toContain(inside);
    }
    expect(log).toHaveLength(asked.length);
  });

  it("is told to callers with a token, and where nobody has one", async () => {
    const failing = new FailingStore(new MemoryStore());
    failing.failure = new StowageError("STORE_UNAVAILABLE", `GetObject failed at ${inside}`);
    for (const [access, secret] of [
      [rules, basic("reader")],
      ["anyone", undefined],
    ] as const) {
      app = createApp({ layout: openLayout(failing), access });
      const response = await get(manifest, secret);
      expect([response.status, await response.text()]).toEqual([503, expect.stringContaining(inside)]);
    }
  });
});

describe("/v1/load with tokens", () => {
  /** A body that fails the test when it is read. */
  function unreadBody(): ReadableStream<Uint8Array> {
    return new ReadableStream({ pull: () => Promise.reject(new Error("the body was read")) }, { highWaterMark: 0 });
  }

  it.each([
    [undefined, "/v1/load/team/app", 401, /^Cannot load without a token/],
    [basic("team"), "/v1/load/other/app:1", 403, /^Cannot load into "other\/app": the token "team" does not allow it$/],
    [basic("reader"), "/v1/load", 403, /^Cannot load: the token "reader" does not allow it$/],
  ])("refuses before it reads the body", async (authorization, path, status, message) => {
    const init = { method: "PUT", headers: headersOf(authorization), body: unreadBody(), duplex: "half" as const };
    await expectError(await app.request(path, init), status, status === 401 ? "UNAUTHORIZED" : "DENIED", message);
  });

  it("publishes nothing of a tarball if one of its names is not allowed", async () => {
    const before = await (await get("/v2/_catalog", basic("all"))).json();
    const both = joinLayouts(makeLayout({ layers: [layer], name: "team/new:1", label: "new" }), otherLayout);
    const response = await load(basic("team"), "/v1/load", both);
    await expectError(response, 403, "DENIED", /^Cannot publish in "other\/app": /);
    expect(await (await get("/v2/_catalog", basic("all"))).json()).toEqual(before);
    expect((await load(basic("team"), "/v1/load/team/renamed", otherLayout)).status).toBe(201);
  });
});
