/** What `stowage serve` says when it cannot start: each message names the setting that mends it. */
import { type IncomingMessage, type RequestListener, createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Outcome, serveStowage, startCommand } from "../support/run-stowage.ts";

const keys = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
/** No instance gives out keys here, and no file has any. */
const bare = { HOME: "/nonexistent", AWS_EC2_METADATA_DISABLED: "true" };

const servers: { close(): unknown }[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An S3 server that answers each request so. */
async function fakeS3(
  status: number,
  code: string,
  more: { headers?: Record<string, string>; xml?: string } = {},
): Promise<string> {
  return listen((_: IncomingMessage, response) => {
    response.writeHead(status, { "Content-Type": "application/xml", ...more.headers });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>No.</Message>${more.xml ?? ""}</Error>`);
  });
}

async function serve(env: Readonly<Record<string, string>>, args: readonly string[] = []): Promise<Outcome> {
  const running = await startCommand(["serve", "--port", "0", ...args], { env: { ...bare, ...env } });
  running.stdin.end();
  return running.outcome;
}

const s3 = (endpoint: string): Record<string, string> => ({
  ...keys,
  STOWAGE_STORE: "s3://my-bucket/images",
  AWS_ENDPOINT_URL_S3: endpoint,
});

describe("stowage serve, whose store cannot be used", () => {
  it("exits with 1 before it listens, and says how to start nevertheless", async () => {
    const { code, stdout, stderr } = await serve(s3(await fakeS3(404, "NoSuchBucket")));
    expect(stderr).toMatch(
      /^stowage serve: Cannot start: GetObject .* 404 NoSuchBucket: No; there is no such bucket, .*--store names another\n\(STOWAGE_CHECK_STORE=false starts/,
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("starts with STOWAGE_CHECK_STORE=false, and is alive, but not ready", async () => {
    const env = { ...s3(await fakeS3(404, "NoSuchBucket")), STOWAGE_CHECK_STORE: "false" };
    const service = await serveStowage([], env);
    expect((await fetch(`${service.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${service.url}/readyz`)).status).toBe(503);
    service.kill("SIGTERM");
    const { code, stdout } = await service.outcome;
    expect(stdout).toMatch(/^\S+Z not ready: .*NoSuchBucket/m);
    expect(code).toBe(0);
  });

  it("names the region of a bucket that is elsewhere", async () => {
    const elsewhere = await fakeS3(301, "PermanentRedirect", { headers: { "x-amz-bucket-region": "eu-central-1" } });
    expect((await serve(s3(elsewhere))).stderr).toMatch(
      /the region eu-central-1: set AWS_REGION=eu-central-1, or region=eu-central-1 in its URL$/m,
    );
    const signed = await fakeS3(400, "AuthorizationHeaderMalformed", { xml: "<Region>eu-west-3</Region>" });
    expect((await serve(s3(signed))).stderr).toMatch(
      /the region eu-west-3: set AWS_REGION=eu-west-3, or region=eu-west-3 in its URL$/m,
    );
  });

  it("names AWS_ENDPOINT_URL_S3 where nothing listens at it", async () => {
    const { code, stderr } = await serve(s3("http://127.0.0.1:1"));
    expect(stderr).toMatch(/ECONNREFUSED.*nothing listens there: is AWS_ENDPOINT_URL_S3 right\?$/m);
    expect(code).toBe(1);
  });

  it("says that a port speaks no TLS", async () => {
    const endpoint = (await fakeS3(200, "")).replace("http:", "https:");
    const { code, stderr } = await serve(s3(endpoint));
    expect(stderr).toMatch(/that port speaks no TLS: is AWS_ENDPOINT_URL_S3 to begin with http:\/\/\?$/m);
    expect(code).toBe(1);
  });

  it("asks for credentials, and for a region", async () => {
    const { AWS_ENDPOINT_URL_S3 = "" } = s3("http://127.0.0.1:1");
    const nobody = await serve({ STOWAGE_STORE: "s3://b", AWS_ENDPOINT_URL_S3 });
    expect(nobody.stderr).toMatch(/set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE$/m);
    expect((await serve({ ...keys, STOWAGE_STORE: "s3://b" })).stderr).toMatch(/Region is missing; set AWS_REGION$/m);
    const misspelt = { ...keys, STOWAGE_STORE: "s3://b", AWS_REGION: "eu central" };
    expect((await serve(misspelt)).stderr).toMatch(/Region not accepted: .*; is AWS_REGION right\?$/m);
  });

  it.each(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])("exits with 2 for %s that is no URL", async (name) => {
    const { code, stderr } = await serve({ ...keys, STOWAGE_STORE: "s3://b", [name]: "localhost:9000" });
    expect(stderr).toMatch(new RegExp(`^stowage serve: ${name} is "localhost:9000", expected a URL such as `));
    expect(code).toBe(2);
  });
});

describe("stowage serve, which cannot listen", () => {
  it("names the setting where another program has the port", async () => {
    const server = createTcpServer();
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const { code, stdout, stderr } = await serve({ STOWAGE_STORE: "memory:" }, ["--port", String(port)]);
    expect(stderr).toBe(
      `stowage serve: Cannot listen on 127.0.0.1, port ${port}: another program has the port; PORT or --port names another, 0 takes any that is free\n`,
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("names the setting where the machine does not have the address", async () => {
    const env = { STOWAGE_STORE: "memory:", STOWAGE_ALLOW_ANYONE: "true", HOST: "192.0.2.1" };
    const { code, stderr } = await serve(env);
    expect(stderr).toMatch(/^stowage serve: Cannot listen on 192\.0\.2\.1, port 0: .*HOST or --host names another$/m);
    expect(code).toBe(1);
  });
});
