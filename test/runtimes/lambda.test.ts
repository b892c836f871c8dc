/** What the handler does that no client of a function URL sees: its deadline, its settings, and the bucket's events. */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { isJsonObject } from "../../src/oci/json.ts";
import { writtenObjects } from "../../src/runtimes/s3-events.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { listFiles, newFolder } from "../support/run-stowage.ts";

const blob = randomBytes(200_000);

/** A bucket that does not answer. */
let silent: Server;
/** A bucket that sends half of each object, and then hangs up. */
let broken: Server;
beforeAll(async () => {
  silent = createServer(() => undefined).listen(0, "127.0.0.1");
  broken = createServer(({ method }, response) => {
    response.writeHead(200, { "Content-Length": blob.length, ETag: '"e"' });
    if (method === "HEAD") response.end();
    else response.write(blob.subarray(0, blob.length / 2), () => setTimeout(() => response.destroy(), 20));
  }).listen(0, "127.0.0.1");
  await Promise.all([once(silent, "listening"), once(broken, "listening")]);
});
afterAll(() => {
  for (const bucket of [silent, broken]) bucket.closeAllConnections();
});
afterEach(() => vi.unstubAllEnvs());

type Handle = (event: unknown, remainingMs?: number) => Promise<unknown>;

/** The handler of a cold start with these settings. */
async function coldStart(settings: Readonly<Record<string, string>>): Promise<Handle> {
  vi.resetModules();
  for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
  const { handler } = await import("../../src/runtimes/lambda.ts");
  return async (event, remainingMs = 30_000) => {
    const deadline = Date.now() + remainingMs;
    const context = { getRemainingTimeInMillis: () => deadline - Date.now() };
    return handler(event, context);
  };
}

function settingsOf(bucket: Server): Readonly<Record<string, string>> {
  const address = bucket.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    STOWAGE_STORE: "s3://bucket/images",
    STOWAGE_ALLOW_ANYONE: "true",
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "secret",
  };
}

function request(method: string, rawPath: string, body?: Buffer): unknown {
  const requestContext = { http: { method, path: rawPath }, domainName: "images.example" };
  const text = body === undefined ? {} : { body: body.toString("base64"), isBase64Encoded: true };
  return { version: "2.0", rawPath, rawQueryString: "", headers: {}, requestContext, ...text };
}

function written(key: string): unknown {
  return { eventSource: "aws:s3", eventName: "ObjectCreated:Put", s3: { object: { key, eTag: "e" } } };
}

describe("the handler for AWS Lambda", () => {
  it("ends a load before its time is over, and serves the next request", async () => {
    const handle = await coldStart(settingsOf(silent));
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(1000)] }));
    const answer = await handle(request("PUT", "/v1/load", tarball), 1000);
    expect(answer).toMatchObject({ statusCode: 503 });
    const body = isJsonObject(answer) ? Buffer.from(String(answer["body"]), "base64").toString() : "";
    expect(body).toContain('"code":"INTERRUPTED"');
    expect(await handle(request("GET", "/healthz"))).toMatchObject({ statusCode: 200 });
  });

  it.each([
    ["a list of tags", "GET", "/v2/app/tags/list"],
    ["a blob", "GET", `/v2/app/blobs/${sha256(blob)}`],
    ["a deletion", "DELETE", "/v2/app/manifests/1"],
  ])("ends %s before its time is over", async (_, method, path) => {
    const handle = await coldStart(settingsOf(silent));
    const answer = await handle(request(method, path), 1000);
    expect(answer).toMatchObject({ statusCode: 503 });
    expect(errorsOf(answer)).toMatchObject([{ code: "INTERRUPTED" }]);
  });

  it("answers with an error if the bucket breaks off in the middle of a blob", async () => {
    const handle = await coldStart(settingsOf(broken));
    const answer = await handle(request("GET", `/v2/app/blobs/${sha256(blob)}`));
    expect(answer).toMatchObject({ statusCode: 503 });
    const [error] = errorsOf(answer);
    expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(JSON.stringify(error)).not.toContain("images");
  });

  it("fails for an event whose tarball may be loaded later, so that Lambda tries again", async () => {
    const handle = await coldStart(settingsOf(silent));
    const event = { Records: [written("images/incoming/app.tar")] };
    await expect(handle(event, 1000)).rejects.toThrow("Cannot load 1 of 1 objects");
  });

  it("lets an event pass that names nothing to load", async () => {
    const handle = await coldStart(settingsOf(silent));
    expect(await handle({ Records: [written("images/index.json"), written("images/incoming/")] })).toBeUndefined();
  });

  it("does not start without tokens, and says so each time", async () => {
    const handle = await coldStart({ STOWAGE_STORE: "memory:" });
    for (let i = 0; i < 2; i++) {
      await expect(handle(request("GET", "/healthz"))).rejects.toMatchObject({ code: "INPUT_INVALID" });
    }
  });

  it("collects garbage, in a slice for each event", async () => {
    const folder = await newFolder();
    const handle = await coldStart({ STOWAGE_STORE: `file:${folder}`, STOWAGE_ALLOW_ANYONE: "true" });
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(1000)] }));
    expect(await handle(request("PUT", "/v1/load/app:1", tarball))).toMatchObject({ statusCode: 201 });
    expect(await handle(request("DELETE", "/v2/app/manifests/1"))).toMatchObject({ statusCode: 202 });
    expect(await handle({ stowage: "gc" })).toBeUndefined();
    expect((await listFiles(join(folder, "condemned"))).length).toBe(3);
    expect(await readFile(join(folder, "condemned-run"), "utf8")).toMatch(/"began":\d+\}\n$/);
  });

  it("fails for an event of gc whose time is over, so that Lambda tells of it", async () => {
    const handle = await coldStart(settingsOf(silent));
    await expect(handle({ stowage: "gc" }, 1000)).rejects.toMatchObject({ code: "INTERRUPTED" });
  });

  it("refuses an event that is none of its own", async () => {
    const handle = await coldStart({ STOWAGE_STORE: "memory:", STOWAGE_ALLOW_ANYONE: "true" });
    await expect(handle({ hello: "world" })).rejects.toThrow("found hello");
  });

  it("shows no header of a request of another form", async () => {
    const handle = await coldStart({ STOWAGE_STORE: "memory:", STOWAGE_ALLOW_ANYONE: "true" });
    const event = { httpMethod: "GET", path: "/v2/", headers: { authorization: "Bearer very-secret" } };
    await expect(handle(event)).rejects.toThrow(/^(?!.*very-secret).*found httpMethod, path, headers$/);
  });
});

describe("a request that Lambda hands over", () => {
  const settings = { STOWAGE_STORE: "memory:", STOWAGE_ALLOW_ANYONE: "true" };
  const event = request("PUT", "/v1/load", Buffer.from("abc")) as Readonly<Record<string, object>>;

  it.each([
    ["a body that is no base64", { body: "a*b=" }, "its body is not base64"],
    ["a body that is cut short", { body: "YWJ" }, "its body is not base64"],
    ["a method that there cannot be", { requestContext: { http: { method: "CONNECT" }, domainName: "x" } }, "CONNECT"],
    ["a host that is none", { requestContext: { http: { method: "GET" }, domainName: "a b" } }, "its host or its path"],
    ["a header that is none", { headers: { "a b": "c" } }, "a b"],
    ["a header of several lines", { headers: { authorization: "very\nsecret" } }, "authorization"],
  ])("is refused with %s", async (_, changes, found) => {
    const handle = await coldStart(settings);
    const answer = await handle({ ...event, ...changes });
    expect(answer).toMatchObject({ statusCode: 400 });
    const [error] = errorsOf(answer);
    expect(error).toMatchObject({ code: "INPUT_INVALID" });
    expect(JSON.stringify(error)).toContain(found);
    expect(JSON.stringify(error)).not.toContain("secret");
  });

  it.each([
    ["requestContext.http.method", { requestContext: { http: null, domainName: "x" } }],
    ["requestContext.http.method", { requestContext: { http: "GET", domainName: "x" } }],
    ["requestContext.domainName", { requestContext: { http: { method: "GET" }, domainName: 5 } }],
    ["rawPath", { rawPath: undefined }],
  ])("is an event of another form without %s", async (name, changes) => {
    const handle = await coldStart(settings);
    await expect(handle({ ...event, ...changes })).rejects.toThrow(`Cannot take the event: expected text for ${name}`);
  });

  it("may have a body that means nothing, and headers of any language", async () => {
    const handle = await coldStart(settings);
    const asked = request("GET", "/healthz", Buffer.from("abc")) as Readonly<Record<string, object>>;
    expect(await handle({ ...asked, headers: { "user-agent": "ブラウザ" } })).toMatchObject({ statusCode: 200 });
  });

  it("is an error of the app as before", async () => {
    const handle = await coldStart(settings);
    const answer = await handle({ ...event, body: "YWJj" });
    expect(answer).toMatchObject({ statusCode: 400, isBase64Encoded: true });
    expect(errorsOf(answer)).toMatchObject([{ code: "ARCHIVE_INVALID" }]);
  });
});

function errorsOf(answer: unknown): readonly unknown[] {
  const body: unknown = isJsonObject(answer)
    ? JSON.parse(Buffer.from(String(answer["body"]), "base64").toString())
    : {};
  return isJsonObject(body) && Array.isArray(body["errors"]) ? body["errors"] : [];
}

describe("writtenObjects", () => {
  it("knows S3's test event, which names no object", () => {
    const event = { Service: "Amazon S3", Event: "s3:TestEvent", Time: "2026-11-30T00:00:00Z", Bucket: "bucket" };
    expect(writtenObjects(event)).toEqual([]);
  });

  it("reads keys as S3 writes them", () => {
    const event = { Records: [written("images/incoming/two+words%2B%C3%A9.tar")] };
    expect(writtenObjects(event)).toEqual([{ key: "images/incoming/two words+é.tar", etag: "e" }]);
  });

  it("takes a key that is not encoded as it is", () => {
    expect(writtenObjects({ Records: [written("incoming/100%.tar"), written("incoming/a.tar")] })).toHaveLength(2);
  });

  it("leaves out what was not written, and knows no other events", () => {
    const record = { eventSource: "aws:s3", eventName: "ObjectRemoved:Delete", s3: { object: { key: "a" } } };
    expect(writtenObjects({ Records: [record] })).toEqual([]);
    expect(writtenObjects({ Records: [{ eventSource: "aws:sqs" }] })).toBeUndefined();
    expect(writtenObjects({ rawPath: "/" })).toBeUndefined();
  });
});
