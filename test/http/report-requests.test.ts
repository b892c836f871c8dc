import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

const layout = makeLayout({ name: "docker.io/team/app:1.4" });
const tarball = await tarOf(layout);
const manifest = "/v2/team/app/manifests/1.4";

function token(name: string, rest: Partial<Token>): Token {
  const sha256 = createHash("sha256").update(`${name}-secret`).digest("hex");
  return { name, sha256, actions: ["pull", "load"], repositories: ["**"], ...rest };
}

const access = { tokens: [token("ci", { repositories: ["team/**"] }), token("reader", { actions: ["pull"] })] };

let log: string[];
beforeEach(() => {
  log = [];
});
afterEach(() => void vi.useRealTimers());

type App = ReturnType<typeof createApp>;

function makeApp(options: Partial<AppOptions> = {}): App {
  return createApp({
    layout: openLayout(new MemoryStore()),
    access: { ...access, anonymousPull: false },
    report: notesIn(() => log),
    ...options,
  });
}

const as = (name: string): Record<string, string> => ({ Authorization: `Bearer ${name}-secret` });

describe("the log of requests", () => {
  it.each([
    ["PUT", "/v1/load/base:1", "ci", "ci PUT /v1/load/base:1 403 DENIED: Cannot load into "],
    ["PUT", "/v1/load/team/app", "reader", "reader PUT /v1/load/team/app 403 DENIED: "],
    ["PUT", "/v1/load", "nobody-knows", "unknown PUT /v1/load 401 UNAUTHORIZED: "],
    ["PUT", "/v1/load", undefined, "nobody PUT /v1/load 401 UNAUTHORIZED: "],
    ["PUT", "/v1/load/Team/App", "ci", "ci PUT /v1/load/Team/App 400 NAME_INVALID: "],
    ["DELETE", manifest, "ci", `ci DELETE ${manifest} 403 DENIED: `],
    ["GET", manifest, undefined, `nobody GET ${manifest} 401 UNAUTHORIZED: `],
    ["GET", "/v2/base/tags/list", "ci", "ci GET /v2/base/tags/list 403 DENIED: "],
    ["PATCH", "/v1/load", "ci", "ci PATCH /v1/load 405"],
  ])("names caller, route, status and code of what is refused: %s %s by %s", async (method, path, name, line) => {
    const body = method === "PUT" ? "no tarball" : null;
    await makeApp().request(path, { method, headers: name === undefined ? {} : as(name), body });
    expect(log).toEqual([expect.stringContaining(line)]);
    expect(log[0]?.startsWith(line)).toBe(true);
    expect(log.join()).not.toContain("-secret");
  });

  it("has a line for a tarball that is refused, and for an encoding", async () => {
    const app = makeApp();
    await app.request("/v1/load/team/app", { method: "PUT", headers: as("ci"), body: "no tarball" });
    const headers = { ...as("ci"), "Content-Encoding": "br" };
    await app.request("/v1/load/team/app", { method: "PUT", headers, body: "x" });
    expect(log).toEqual([
      expect.stringMatching(/^ci PUT \/v1\/load\/team\/app 400 ARCHIVE_INVALID: /),
      expect.stringMatching(/^ci PUT \/v1\/load\/team\/app 415 UNSUPPORTED: /),
    ]);
  });

  it("warns of nothing that is pulled, not there, or asked to learn whether a token is needed", async () => {
    const app = makeApp();
    await app.request("/v1/load", { method: "PUT", headers: as("ci"), body: tarball });
    log = [];
    for (const path of [manifest, "/v2/team/app/manifests/2"]) await app.request(path, { headers: as("ci") });
    for (const path of ["/v2/", "/healthz", "/nothing"]) await app.request(path);
    expect(log).toEqual([]);
  });

  it.each(["/healthz", "/readyz", "/openapi.json"])(
    "has a line for a problem of the open route %s, and none for an answer",
    async (path) => {
      const app = makeApp();
      expect((await app.request(path, { headers: { "X-Request-Id": "probe-1" } })).headers.get("X-Request-Id")).toBe(
        "probe-1",
      );
      expect(log).toEqual([]);
      const refused = await app.request(path, { method: "POST", headers: { "X-Request-Id": "probe-2" } });
      expect(await refused.json()).toMatchObject({ errors: [{ detail: { requestId: "probe-2" } }] });
      expect(log).toEqual([expect.stringContaining(`POST ${path} 405`)]);
    },
  );

  it("has the error of an open route that failed", async () => {
    vi.doMock("../../src/http/openapi/describe-routes.ts", () => ({
      describeRoutes: () => {
        throw new Error("the description is broken");
      },
    }));
    const response = await makeApp().request("/openapi.json");
    vi.doUnmock("../../src/http/openapi/describe-routes.ts");
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("broken");
    expect(log).toEqual([expect.stringContaining("unknown GET /openapi.json 500: Error: the description is broken")]);
  });

  it("writes one line of bounded length for each refusal, also for a long path and for line ends", async () => {
    const long = "x".repeat(50_000);
    await makeApp().request(`/v1/load/${long}%0Ainjected`, { method: "PUT", headers: as("ci"), body: "x" });
    await makeApp().request("/v1/load/a%0A2026-01-01%20all%20is%20well", {
      method: "PUT",
      headers: as("ci"),
      body: "x",
    });
    expect(log).toHaveLength(2);
    for (const line of log) {
      expect(line).not.toMatch(/\n/);
      expect(line.length).toBeLessThanOrEqual(1001);
    }
  });

  it("shows no more than 120 refusals a minute, and then says how many there were", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const app = makeApp();
    for (let i = 0; i < 1000; i++) await app.request("/v1/load", { method: "PUT" });
    expect(log).toHaveLength(121);
    expect(log[120]).toBe("120 requests of nobody were refused within a minute: more are counted, not shown");
    vi.advanceTimersByTime(60_000);
    await app.request("/v1/load", { method: "PUT" });
    expect(log.slice(121)).toEqual([
      "880 more requests of nobody were refused since then",
      expect.stringMatching(/^nobody PUT \/v1\/load 401 /),
    ]);
  });

  it("holds no caller of long ago, but says how many of its refusals were not shown", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const names = Array.from({ length: 1000 }, (_, i) => `${i}`);
    const tokens = ["flood", "next", ...names].map((name) => token(name, { actions: ["pull"] }));
    const app = makeApp({ access: { tokens, anonymousPull: false } });
    const refuse = async (name: string): Promise<unknown> =>
      app.request("/v1/load", { method: "PUT", headers: as(name) });
    for (let i = 0; i < 130; i++) await refuse("flood");
    for (const name of names.slice(1)) await refuse(name);
    vi.advanceTimersByTime(60_000);
    log = [];
    for (const name of ["next", "flood"]) await refuse(name);
    expect(log).toEqual([
      "10 more requests of flood were refused since then",
      expect.stringMatching(/^next /),
      expect.stringMatching(/^flood /),
    ]);
  });

  it("shows what is refused to one caller while another floods it", async () => {
    const app = makeApp();
    for (let i = 0; i < 200; i++) await app.request("/v1/load", { method: "PUT" });
    log = [];
    await app.request("/v1/load/base:1", { method: "PUT", headers: as("ci"), body: "x" });
    expect(log).toEqual([expect.stringMatching(/^ci PUT \/v1\/load\/base:1 403 DENIED: /)]);
  });

  it("tells a client that went away from a failure of the service", async () => {
    const failing = (): ReadableStream<Uint8Array> =>
      new ReadableStream({
        start(controller) {
          controller.enqueue(tarball.subarray(0, 1000));
          controller.error(new Error("socket closed"));
        },
      });
    const request = { method: "PUT", headers: as("ci"), body: failing(), duplex: "half" } as const;
    await makeApp().request(new Request("http://localhost/v1/load/team/app", request));
    expect(log).toEqual(["ci PUT /v1/load/team/app 499: the client went away"]);
  });

  it.each([[new Error("gone")], ["gone"], [undefined]])(
    "… also while a pull waits for the store: %j",
    async (reason) => {
      const client = new AbortController();
      const store = new MemoryStore();
      store.get = async (_, options) => {
        client.abort(reason);
        options?.signal?.throwIfAborted();
        throw new Error("expected the signal to have fired");
      };
      const path = `/v2/team/app/blobs/${layout.digest}`;
      await makeApp({ layout: openLayout(store) }).request(
        new Request(`http://localhost${path}`, { headers: as("ci"), signal: client.signal }),
      );
      expect(log).toEqual([`ci GET ${path} 499: the client went away`]);
    },
  );

  it("calls it a failure when the service itself stops", async () => {
    const stopping = new AbortController();
    stopping.abort(new Error("stopping"));
    const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.error(new Error("closed")) });
    const request = { method: "PUT", headers: as("ci"), body, duplex: "half" } as const;
    await makeApp({ signal: stopping.signal }).request(new Request("http://localhost/v1/load/team/app", request));
    expect(log).toEqual([expect.stringMatching(/^ci PUT \/v1\/load\/team\/app 50[03]/)]);
  });
});
