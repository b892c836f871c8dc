/** What CloudFront runs before each request: it asks registry clients to log in, since a function URL of Lambda cannot. */
import { transform } from "esbuild";
import { describe, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { openLayout } from "../support/open-layout.ts";
import { loadEdgeFunction, readEdgeCode } from "./edge-function.ts";
import { at, listAt } from "./infra-tools.ts";

describe("the function of infra/aws/template.yaml at the edge", () => {
  const token = { authorization: { value: "Basic YTpi" } };
  const host = { host: { value: "images.example" } };

  it.each([
    ["GET", "/v2/", {}, false, 401],
    ["HEAD", "/v2/team/app/manifests/1", {}, false, 401],
    ["DELETE", "/v2/team/app/manifests/1", {}, false, 401],
    ["GET", "/v2/", token, false, "on"],
    ["GET", "/healthz", {}, false, "on"],
    ["PUT", "/v1/load", {}, false, "on"],
    ["PUT", "/v1/uploads/id/parts/1", {}, false, "on"], // by its key, without a token
    ["GET", "/v2/", {}, true, "on"],
    ["HEAD", "/v2/team/app/manifests/1", {}, true, "on"],
    ["DELETE", "/v2/team/app/manifests/1", {}, true, 401],
    ["POST", "/v2/team/app/blobs/uploads/", {}, true, 401],
    ["PATCH", "/v2/team/app/blobs/uploads/id", token, true, "on"],
  ])("%s %s with %j, pulls for all: %s, is answered or goes on: %s", async (method, uri, headers, open, expected) => {
    const result = (await loadEdgeFunction(open))({ method, uri, headers: { ...host, ...headers } });
    if (expected === "on") {
      expect(result).toEqual({ method, uri, headers: { ...host, ...headers, "x-forwarded-host": host.host } });
      return;
    }
    expect(result).toMatchObject({ statusCode: expected, headers: { "x-request-id": { value: "edge-request" } } });
    expect(JSON.parse(String(at(result, "body")))).toMatchObject({ errors: [{ code: "UNAUTHORIZED" }] });
  });

  it("asks as the service does", async () => {
    const app = createApp({ layout: openLayout(new MemoryStore()), access: { tokens: [], anonymousPull: false } });
    const own = await app.request("/v2/");
    const result = (await loadEdgeFunction(false))({ method: "GET", uri: "/v2/", headers: host });
    const challenge = own.headers.get("WWW-Authenticate");
    expect(result).toMatchObject({ statusCode: own.status, headers: { "www-authenticate": { value: challenge } } });
    const [error] = listAt(await own.json(), "errors");
    const { detail, ...asked } = error ?? {};
    expect(Object.keys(detail ?? {}), "the edge gives requests no id of their own").toEqual(["requestId"]);
    expect(JSON.parse(String(at(result, "body")))).toEqual({ errors: [asked] });
  });

  it("tells the service the host that the client asked for, whatever the client says", async () => {
    const headers = { ...token, ...host, "x-forwarded-host": { value: "evil.example" } };
    const result = (await loadEdgeFunction(false))({ method: "GET", uri: "/v2/", headers });
    expect(result.headers["x-forwarded-host"]).toEqual(host.host);
  });

  it("is code that the edge's runtime takes", async () => {
    const code = await readEdgeCode(false);
    expect(Buffer.byteLength(code)).toBeLessThan(10_240); // CloudFront takes no more
    // ECMAScript 5.1 and nothing later: then there is nothing to be made older.
    const compiled = async (target: string): Promise<string> => (await transform(code, { target })).code;
    expect(await compiled("es5")).toBe(await compiled("esnext"));
  });
});
