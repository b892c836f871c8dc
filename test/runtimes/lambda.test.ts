/** What the handler does that no client of a function URL sees: its deadline, its settings, and the bucket's events. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { isJsonObject } from "../../src/oci/json.ts";
import { writtenObjects } from "../../src/runtimes/s3-events.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";

/** A bucket that does not answer. */
let bucket: Server;
beforeAll(async () => {
  bucket = createServer(() => undefined).listen(0, "127.0.0.1");
  await once(bucket, "listening");
});
afterAll(() => bucket.closeAllConnections());
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
    return handler(event, context as Parameters<typeof handler>[1]);
  };
}

function silentBucket(): Readonly<Record<string, string>> {
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
    const handle = await coldStart(silentBucket());
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(1000)] }));
    const answer = await handle(request("PUT", "/v1/load", tarball), 1000);
    expect(answer).toMatchObject({ statusCode: 503 });
    const body = isJsonObject(answer) ? Buffer.from(String(answer["body"]), "base64").toString() : "";
    expect(body).toContain('"code":"INTERRUPTED"');
    expect(await handle(request("GET", "/healthz"))).toMatchObject({ statusCode: 200 });
  });

  it("fails for an event whose tarball may be loaded later, so that Lambda tries again", async () => {
    const handle = await coldStart(silentBucket());
    const event = { Records: [written("images/incoming/app.tar")] };
    await expect(handle(event, 1000)).rejects.toThrow("Cannot load 1 of 1 objects");
  });

  it("lets an event pass that names nothing to load", async () => {
    const handle = await coldStart(silentBucket());
    expect(await handle({ Records: [written("images/index.json"), written("images/incoming/")] })).toBeUndefined();
  });

  it("does not start without tokens, and says so each time", async () => {
    const handle = await coldStart({ STOWAGE_STORE: "memory:" });
    for (let i = 0; i < 2; i++) {
      await expect(handle(request("GET", "/healthz"))).rejects.toMatchObject({ code: "INPUT_INVALID" });
    }
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

describe("writtenObjects", () => {
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
