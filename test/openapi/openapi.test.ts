/** The description of the routes is true: the service has these paths, methods and rights, and no others. */
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { type Action, type Token, actions } from "../../src/auth/access.ts";
import { createApp } from "../../src/http/app.ts";
import { statusOf } from "../../src/http/error-response.ts";
import type { Metrics } from "../../src/http/metrics-routes.ts";
import { ownOperations, publicOperations } from "../../src/http/openapi/own-operations.ts";
import { registryOperations } from "../../src/http/openapi/registry-operations.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { openLayout } from "../support/open-layout.ts";

interface Document {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly components: { readonly responses: Readonly<Record<string, object>> };
}

interface OperationObject {
  readonly operationId: string;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
}

/** A token for each action, whose secret is the action. */
const tokens = actions.map((action): Token => ({
  name: action,
  sha256: sha256(Buffer.from(action)).slice("sha256:".length),
  actions: [action],
  repositories: ["**"],
}));
const metrics: Metrics = {
  access: "token",
  expose: async () => ({ contentType: "text/plain", text: "" }),
  watchLines: () => undefined,
};
const openService = (): Hono =>
  createApp({ layout: openLayout(new MemoryStore()), access: { tokens, anonymousPull: false }, metrics });
const app = openService();
/** Fails with the name of a route or a parameter that is not described. */
const strictApp = openService().onError((error) => {
  throw error;
});
const document = (await (await strictApp.request("/openapi.json")).json()) as Document;

const operations = Object.entries(document.paths).flatMap(([path, item]) => {
  const methods = Object.entries(item).filter(([key]) => key !== "parameters");
  return methods.map(([method, operation]) => ({
    method: method.toUpperCase(),
    path,
    url: urlOf(path),
    ...(operation as OperationObject),
  }));
});

function urlOf(path: string): string {
  const values: Readonly<Record<string, string>> = {
    name: "team%2Fapp",
    image: "team/app:1",
    reference: "1",
    digest: sha256(Buffer.from("")),
    session: "1",
    id: "0".repeat(32),
    number: "1",
  };
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "");
}

async function ask(method: string, url: string, secret?: string): Promise<Response> {
  return app.request(url, { method, headers: secret === undefined ? {} : { Authorization: `Bearer ${secret}` } });
}

describe("GET /openapi.json", () => {
  it("is OpenAPI 3.1 for anyone", async () => {
    const response = await app.request("/openapi.json");
    expect([response.status, response.headers.get("Content-Type")]).toEqual([200, "application/json"]);
    expect(document).toMatchObject({ openapi: "3.1.0", servers: [{ url: "/" }] });
    expect(operations.length).toBeGreaterThan(30);
  });

  it("has each operation that is described, and each has its own id", () => {
    const described = [ownOperations, registryOperations, publicOperations].flatMap((group) => Object.keys(group));
    const found = operations.map(({ method, path }) => `${method} ${path.replaceAll("{", "<").replaceAll("}", ">")}`);
    expect(found.filter((key) => !key.startsWith("HEAD ")).toSorted()).toEqual(described.toSorted());
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
  });

  it("has every path that the app serves beside /v1, /v2 and /metrics", () => {
    const served = app.routes.map(({ path }) => path).filter((path) => !/^\/(?:v[12]|metrics)\//.test(path));
    expect(served.length).toBeGreaterThan(0);
    expect(served.filter((path) => !(path in document.paths))).toEqual([]);
  });

  it.each(Object.keys(document.paths))("has the methods that %s allows", async (path) => {
    const response = await ask("REPORT", urlOf(path), "pull");
    expect(response.status).toBe(405);
    const methods = operations.filter((operation) => operation.url === urlOf(path)).map(({ method }) => method);
    expect(response.headers.get("Allow")?.split(", ").toSorted()).toEqual(methods.toSorted());
  });

  it.each(operations)("says who may $method $path", async ({ method, url, security }) => {
    const isOpen = security.length === 0;
    expect((await ask(method, url)).status === 401).toBe(!isOpen);
    const roles = security.flatMap(({ bearer = [] }) => bearer);
    const allowed: readonly Action[] =
      roles.length === 0 ? actions : actions.filter((action) => roles.includes(action));
    const admitted: Action[] = [];
    for (const action of actions) {
      if ((await ask(method, url, action)).status !== 403) admitted.push(action);
    }
    expect(admitted).toEqual(allowed);
  });

  it("has every error code, under its status", () => {
    const found = Object.keys(document.components.responses).flatMap((id) => {
      const [status = "", ...names] = id.split(".");
      return names.filter((name) => name !== "HEAD").map((name) => `${name} ${status}`);
    });
    const codes = Object.entries(statusOf).map(([code, status]) => `${code} ${status}`);
    expect(codes.filter((code) => !found.includes(code))).toEqual([]);
  });

  it("has the path of an app in another app in its servers", async () => {
    const own = new Hono().route("/images", app);
    const response = await own.request("/images/openapi.json");
    expect(await response.json()).toMatchObject({ servers: [{ url: "/images" }] });
    const again = await app.request("/openapi.json");
    expect(await again.json()).toMatchObject({ servers: [{ url: "/" }] });
  });
});
