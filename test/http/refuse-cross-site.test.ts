import { beforeEach, describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

let app: ReturnType<typeof createApp>;
beforeEach(() => {
  app = createApp({ layout: openLayout(new MemoryStore()), access: "anyone" });
});

async function load(headers: Readonly<Record<string, string>>): Promise<Response> {
  const body = await tarOf(makeLayout({ name: "team/app:1" }));
  return app.request("http://127.0.0.1:8080/v1/load", { method: "POST", body, headers });
}

describe("a change that a web page makes a browser send", () => {
  it.each([
    ["of another site", { "Sec-Fetch-Site": "cross-site" }],
    ["of another host of the same site", { "Sec-Fetch-Site": "same-site" }],
    ["of another origin, by an older browser", { Origin: "https://evil.example" }],
    ["of another port", { Origin: "http://127.0.0.1:3000" }],
    ["that hides where it comes from", { Origin: "null" }],
  ])("is refused for a page %s", async (_, headers) => {
    const response = await load(headers);
    expect(response.status).toBe(403);
    expect(await response.text()).toContain("for a page of another site");
    expect((await app.request("/v2/team/app/tags/list")).status).toBe(404);
  });

  it.each([
    ["no browser", {}],
    ["a page of its own", { "Sec-Fetch-Site": "same-origin", Origin: "http://127.0.0.1:8080" }],
    ["a page of its own, by an older browser", { Origin: "http://127.0.0.1:8080" }],
    ["the address bar", { "Sec-Fetch-Site": "none" }],
  ])("is taken from %s", async (_, headers) => {
    expect((await load(headers)).status).toBe(201);
  });

  it("leaves reading alone", async () => {
    await load({});
    const headers = { "Sec-Fetch-Site": "cross-site", Origin: "https://other.example" };
    expect((await app.request("/v2/team/app/tags/list", { headers })).status).toBe(200);
  });
});
