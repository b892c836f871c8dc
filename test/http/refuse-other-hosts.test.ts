/** The names under which a service on loopback answers: a web page that has given itself its address has another. */
import { once } from "node:events";
import { request } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { NodeRuntime } from "../../src/runtimes/node.ts";
import { runService } from "../../src/runtimes/run-service.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const tarball = await tarOf(makeLayout({ name: "team/app:1" }));
const tokens = JSON.stringify([{ name: "ci", sha256: "0".repeat(64), actions: ["load"] }]);

const ending: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0)) await end();
});

/** The service as `stowage serve` runs it; returns its URL. */
async function serve(settings: Readonly<Record<string, string>>): Promise<string> {
  const stopping = new AbortController();
  const all = { STOWAGE_STORE: "memory:", PORT: "0", ...settings };
  return new Promise((resolve, reject) => {
    const write = (text: string): void => {
      const [, url] = /listens on (\S+),/.exec(text) ?? [];
      if (url !== undefined) resolve(url);
    };
    const served = runService(all, new NodeRuntime(), { write }, stopping.signal);
    served.catch(reject);
    ending.push(async () => (stopping.abort(), served));
  });
}

interface Sent {
  readonly method?: string;
  readonly body?: Uint8Array;
}

/** As a browser sends it whose page calls itself so: to it, the service is of the page's own site. */
async function send(url: string, path: string, host: string, { method = "GET", body }: Sent = {}): Promise<number> {
  const headers = { Host: host, Origin: `http://${host}`, "Sec-Fetch-Site": "same-origin" };
  const sent = request(url + path, { method, headers, agent: false });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [{ statusCode: number; resume(): void }];
  response.resume();
  return response.statusCode;
}

describe("a service on loopback without tokens", () => {
  it("does nothing for a page that has given itself its address", async () => {
    const url = await serve({});
    const { host, port } = new URL(url);
    expect(await send(url, "/v1/load", host, { method: "PUT", body: tarball })).toBe(201);
    for (const name of [`evil.example:${port}`, "evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]) {
      expect(await send(url, "/v2/team/app/tags/list", name), name).toBe(421);
      expect(await send(url, "/v2/", name), name).toBe(421);
      expect(await send(url, "/v1/load", name, { method: "PUT", body: tarball }), name).toBe(421);
      expect(await send(url, "/v2/team/app/manifests/1", name, { method: "DELETE" }), name).toBe(421);
    }
    expect(await send(url, "/v2/team/app/manifests/1", host)).toBe(200);
  });

  it("answers under the names of this machine, and those of STOWAGE_HOSTS", async () => {
    const url = await serve({ STOWAGE_HOSTS: "Stowage.Example, other.example:8080" });
    for (const name of [
      "localhost",
      "LOCALHOST:1",
      "127.0.0.1:5000",
      "[::1]:8080",
      "stowage.example",
      "OTHER.example",
    ]) {
      expect(await send(url, "/v2/", name), name).toBe(200);
    }
    expect(await send(url, "/v2/", "evil.example")).toBe(421);
  });

  it("is asked for its health under any name", async () => {
    expect(await send(await serve({}), "/healthz", "10.0.0.7:8080")).toBe(200);
  });
});

describe("any other service", () => {
  it.each([
    ["with tokens", { STOWAGE_TOKENS: tokens }, 401],
    ["with anonymous pull", { STOWAGE_ANONYMOUS_PULL: "true" }, 200],
  ])("answers under any name: one %s", async (_, settings, status) => {
    expect(await send(await serve(settings), "/v2/", "stowage.example")).toBe(status);
  });

  it.each([
    ["with tokens", { STOWAGE_TOKENS: tokens }],
    ["with anonymous pull", { STOWAGE_ANONYMOUS_PULL: "true" }],
  ])("answers under the names of STOWAGE_HOSTS alone, if there are any: one %s", async (_, settings) => {
    const url = await serve({ ...settings, STOWAGE_HOSTS: "stowage.example" });
    expect(await send(url, "/v2/", "stowage.example")).not.toBe(421);
    expect(await send(url, "/v2/", "evil.example")).toBe(421);
  });
});

describe("createApp", () => {
  it("answers a request without a Host, which no browser sends", async () => {
    const app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone", hosts: ["localhost"] });
    expect((await app.request("/v2/")).status).toBe(200);
    const response = await app.request("/v2/", { headers: { Host: "evil.example\u001b" } });
    expect(response.status).toBe(421);
    const message = expect.stringContaining('the host "evil.example\\u001b": expected localhost;') as string;
    expect(await response.json()).toMatchObject({ errors: [{ code: "DENIED", message }] });
  });

  it("does not look at the Host where nobody says which it may be, as in somebody's own app", async () => {
    const app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone" });
    expect((await app.request("/v2/", { headers: { Host: "own.example" } })).status).toBe(200);
  });
});
