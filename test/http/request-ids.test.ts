import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { beforeEach, describe, expect, it } from "vitest";
import type { RequestEvent, StowageEvent } from "../../src/events.ts";
import { createApp } from "../../src/http/app.ts";
import { createLog } from "../../src/http/log.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { serveStowage } from "../support/run-stowage.ts";

const layer = randomBytes(300_000);
const layout = makeLayout({ layers: [layer], name: "team/app:1.4" });
const tarball = await tarOf(layout);
const sha256 = createHash("sha256").update("secret").digest("hex");
const tokens = [{ name: "ci", sha256, actions: ["load", "pull"] as const, repositories: ["team/**"] }];

let events: StowageEvent[];
let lines: string[];
let app: ReturnType<typeof createApp>;
beforeEach(() => {
  events = [];
  lines = [];
  const log = createLog((line) => lines.push(line), "json");
  app = createApp({
    layout: openLayout(new MemoryStore()),
    access: { tokens, anonymousPull: true },
    report: (event) => {
      events.push(event);
      log(event);
    },
  });
});

async function ask(path: string, headers: Record<string, string> = {}, init: RequestInit = {}): Promise<Response> {
  return app.request(path, { ...init, headers });
}

const ci = { Authorization: "Bearer secret" };

function lastRequest(): RequestEvent {
  const last = events.at(-1);
  if (last?.event !== "request") throw new Error(`expected a request, found ${last?.event}`);
  return last;
}

describe("X-Request-Id", () => {
  it("is the client's in the answer, in its line of the log, and in the line of the load", async () => {
    const headers = { ...ci, "X-Request-Id": "job-17/step:2" };
    const response = await ask("/v1/load", headers, { method: "PUT", body: tarball });
    expect([response.status, response.headers.get("X-Request-Id")]).toEqual([201, "job-17/step:2"]);
    expect(events).toMatchObject([
      { event: "load", id: "job-17/step:2", caller: "ci", images: [{ repository: "team/app", reference: "1.4" }] },
      { event: "request", id: "job-17/step:2", caller: "ci", route: "/v1/load", status: 201, outcome: "ok" },
    ]);
  });

  it.each([["with spaces"], ["x".repeat(129)], ["-x"], ['{"a":1}'], ["caf\u00e9"], [""]])(
    "is a new one in the place of %j",
    async (id) => {
      const response = await ask("/v2/_catalog", { "X-Request-Id": id });
      const found = response.headers.get("X-Request-Id");
      expect(found).toMatch(/^[0-9a-f-]{36}$/);
      expect(lastRequest().id).toBe(found);
    },
  );

  it.each([
    ["PUT", "/v1/load/base:1", 403, "DENIED"],
    ["GET", "/v2/team/app/manifests/none", 404, "NAME_UNKNOWN"],
    ["GET", "/v2/nothing", 404, "UNSUPPORTED"],
    ["DELETE", "/v1/load", 405, "UNSUPPORTED"],
    ["GET", `/v2/${"a".repeat(3000)}`, 414, "LIMIT_EXCEEDED"],
  ])("is in the error of %s %s", async (method, path, status, code) => {
    const response = await ask(path, ci, { method });
    const id = response.headers.get("X-Request-Id");
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ errors: [{ code, detail: { requestId: id } }] });
    expect(lastRequest()).toMatchObject({ id, status });
  });
});

describe("the line of a request", () => {
  it("names the route by its pattern, the repository, and the bytes", async () => {
    await ask("/v1/load", ci, { method: "PUT", body: tarball });
    expect(lastRequest()).toMatchObject({ bytesIn: tarball.length, message: undefined });
    const [digest] = [...layout.blobs].find(([, bytes]) => bytes.length === layer.length) ?? [];
    await (await ask(`/v2/team/app/blobs/${digest}`)).arrayBuffer();
    expect(lastRequest()).toMatchObject({
      caller: "nobody",
      method: "GET",
      route: "/v2/<name>/blobs/<digest>",
      repository: "team/app",
      status: 200,
      outcome: "ok",
      bytesIn: 0,
      bytesOut: layer.length,
    });
    await ask(`/v2/team/app/blobs/${digest}`, {}, { method: "HEAD" });
    expect(lastRequest()).toMatchObject({ method: "HEAD", bytesOut: 0 });
  });

  it("comes when the answer has ended, with the bytes until then if its reader leaves", async () => {
    await ask("/v1/load", ci, { method: "PUT", body: tarball });
    const [digest] = [...layout.blobs].find(([, bytes]) => bytes.length === layer.length) ?? [];
    events = [];
    const { body } = await ask(`/v2/team/app/blobs/${digest}`);
    const reader = (body as ReadableStream<Uint8Array> | null)?.getReader();
    const first = await reader?.read();
    expect(events).toEqual([]);
    await reader?.cancel();
    expect(lastRequest()).toMatchObject({ status: 200, outcome: "gone", bytesOut: first?.value?.length });
  });

  it("says nothing of a body that was not read", async () => {
    await ask("/v1/load/base:1", ci, { method: "PUT", body: tarball });
    expect(lastRequest()).toMatchObject({ status: 403, outcome: "refused", code: "DENIED", bytesIn: 0 });
  });

  it("has no secret of a URL or a header, no route before the caller is known, and is a line of JSON", async () => {
    await ask(
      "/v1/uploads/0123/parts/1?key=very-secret",
      { ...ci, Authorization: "Bearer a-guess" },
      { method: "PUT" },
    );
    expect(lastRequest()).toMatchObject({ caller: "unknown", status: 401, code: "UNAUTHORIZED", route: undefined });
    await ask("/v1/load/a%0A%1b[31m", ci, { method: "PUT", body: "x" });
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).not.toMatch(/very-secret|a-guess|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(line)).toMatchObject({ event: "request", level: "warn", status: expect.any(Number) as number });
    }
  });
});

describe("traceparent", () => {
  const trace = "0af7651916cd43dd8448eb211c80319c";

  it.each([
    [`00-${trace}-b7ad6b7169203331-01`, trace],
    [`cc-${trace}-b7ad6b7169203331-01-what-the-future-brings`, trace],
    [`00-${trace}-b7ad6b7169203331-01-more`, undefined],
    [`ff-${trace}-b7ad6b7169203331-01`, undefined],
    [`00-${"0".repeat(32)}-b7ad6b7169203331-01`, undefined],
    [`00-${trace}-${"0".repeat(16)}-01`, undefined],
    [`00-${trace.toUpperCase()}-b7ad6b7169203331-01`, undefined],
    ["nonsense", undefined],
  ])("%s gives the line the trace %s", async (traceparent, traceId) => {
    await ask("/v2/_catalog", { traceparent });
    expect(lastRequest().traceId).toBe(traceId);
  });

  it("reaches the bucket with the requests that it causes, and with no others", async () => {
    const sent: (string | undefined)[] = [];
    const bucket = createServer(({ headers }, response) => {
      sent.push(headers["traceparent"]?.toString());
      response.writeHead(404, { "Content-Type": "application/xml" }).end("<Error><Code>NoSuchKey</Code></Error>");
    });
    await once(bucket.listen(0, "127.0.0.1"), "listening");
    const { port } = bucket.address() as AddressInfo;
    const service = await serveStowage(["--store", "s3://bucket"], {
      AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: "key",
      AWS_SECRET_ACCESS_KEY: "secret",
      STOWAGE_CHECK_STORE: "false",
    });
    const path = `${service.url}/v2/team/app/tags/list`;
    expect((await fetch(path, { headers: { traceparent: `00-${trace}-b7ad6b7169203331-01` } })).status).toBe(404);
    expect(sent.splice(0)).toEqual([
      expect.stringMatching(new RegExp(`^00-${trace}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$`)),
    ]);
    expect((await fetch(path)).status).toBe(404);
    expect(sent).toEqual([undefined]);
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
    bucket.close();
  });
});
