import { once } from "node:events";
import { readFile, stat } from "node:fs/promises";
import { type ClientRequest, type IncomingMessage, createServer } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readAll, sha256 } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, listFiles, newFolder, serveStowage, until } from "../support/run-stowage.ts";
import { type StreamedLoad, streamedLoad } from "../support/streamed-load.ts";
import { runTool } from "../tools/run-tool.ts";
import { missingPrograms, projectFolder } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";
import { type Proxy, type ProxyKind, proxyFiles, startProxy } from "./start-proxy.ts";

const mebibyte = 1024 * 1024;

describeIfFound("infra/Caddyfile", missingPrograms("caddy"), () => {
  it("is a file that Caddy takes, as Caddy itself would write it", async () => {
    const file = join(projectFolder, proxyFiles.caddy);
    await runTool("caddy", ["validate", "--adapter", "caddyfile", "--config", file]);
    expect(await runTool("caddy", ["fmt", file])).toBe(await readFile(file, "utf8"));
  });
});

// That nginx takes its file is seen when it starts: `nginx -t` wants the certificate that the file names.
for (const kind of ["nginx", "caddy"] as const) {
  describeIfFound(`Stowage behind ${proxyFiles[kind]}`, missingPrograms(kind, "openssl"), () => {
    testWithStowage(kind);
    testPauses(kind);
  });
}

function testWithStowage(kind: ProxyKind): void {
  const { secret, tokens } = makeToken(["pull", "load"]);
  const headers = { Authorization: `Bearer ${secret}` };
  let store = "";
  let service: ServingCommand;
  let proxy: Proxy;
  beforeAll(async () => {
    store = await newFolder();
    service = await serveStowage(["--store", `file:${store}`], { STOWAGE_TOKENS: tokens });
    proxy = await startProxy(kind, { upstreamPort: Number(new URL(service.url).port) });
  }, 60_000);
  afterAll(async () => {
    await proxy.stop();
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });
  const ask = (path: string, asking: Asking = {}): ClientRequest => askProxy(proxy, path, asking);

  it("sends a load of 300 MiB on as it comes, and gives its bytes back", { timeout: 120_000 }, async () => {
    const load = streamedLoad(`by way of ${kind}`, 300);
    let sendRest = (): void => undefined;
    const isSeen = new Promise<void>((resolve) => (sendRest = resolve));
    const loading = ask("/v1/load/team/app:1.4", {
      method: "PUT",
      headers: { ...headers, "X-Forwarded-Host": "elsewhere.example" },
    });
    const sent = pipeline(pausing(load, 200 * mebibyte, isSeen), loading);
    await until(async () => ((await sizeOf(store)) > 150 * mebibyte ? true : undefined), 60);
    sendRest();
    const answer = await answerOf(loading);
    await sent;
    expect(answer.statusCode).toBe(201);
    expect(JSON.parse(await textOf(answer))).toMatchObject({
      images: [{ pull: `docker pull stowage.example:${proxy.port}/team/app:1.4` }],
    });

    const pulling = ask(`/v2/team/app/blobs/${load.layerDigest}`, { headers });
    pulling.end();
    const layer = await readAll(await answerOf(pulling));
    expect([layer.length, sha256(layer)]).toEqual([300 * mebibyte, load.layerDigest]);
    expect(await proxy.log()).not.toContain("temporary file");
  });

  it("passes on the challenge of a login, also in answer to a large load", { timeout: 60_000 }, async () => {
    const login = ask("/v2/");
    login.end();
    const answer = await answerOf(login);
    expect(answer.statusCode).toBe(401);
    expect(answer.headers["www-authenticate"]).toBe('Basic realm="Stowage"');
    answer.resume();

    const loading = ask("/v1/load", { method: "PUT" });
    loading.on("error", () => undefined); // the service reads no further
    const sent = pipeline(Readable.from(streamedLoad("refused", 50).body()), loading).catch(() => undefined);
    const refused = await answerOf(loading);
    expect(refused.statusCode).toBe(401);
    expect(await textOf(refused)).toContain("UNAUTHORIZED");
    await sent;
  });

  it("makes the URLs of parts and pushes as its clients know it", async () => {
    const beginning = ask("/v1/uploads", { method: "POST", headers });
    beginning.end(JSON.stringify({ size: 20 * mebibyte }));
    const text = await textOf(await answerOf(beginning));
    expect(text).toContain(`"${proxy.url}/v1/uploads/`);
    expect(text).not.toContain("http://");

    const pushing = ask("/v2/team/app/blobs/uploads/", { method: "POST", headers });
    pushing.end();
    const begun = await answerOf(pushing);
    begun.resume();
    expect(begun.statusCode).toBe(202);
    const { href } = new URL(begun.headers.location ?? "", proxy.url);
    expect(href).toContain(`${proxy.url}/v2/team/app/blobs/uploads/`);
  });

  it("takes tokens as long as those of CI systems", async () => {
    const long = ask("/v2/", { headers: { Authorization: `Bearer ${"a".repeat(12_000)}` } });
    long.end();
    expect((await answerOf(long)).statusCode).toBe(401);
  });
}

/** Of nginx's defaults, which are a minute: pauses of this test last longer than these. */
const shortDefaults =
  "client_body_timeout 1s; send_timeout 1s; proxy_send_timeout 1s; proxy_read_timeout 1s; client_max_body_size 1m;";
const pauseMs = 2500;

function testPauses(kind: ProxyKind): void {
  it("waits longer than it would by default", { timeout: 120_000 }, async () => {
    const block = Buffer.alloc(mebibyte, "a");
    const blocks = 48; // more than sockets hold
    const slow = createServer((incoming, outgoing) => {
      void (async () => {
        await sleep(pauseMs); // its bucket is slow
        const received = await readAll(incoming);
        await sleep(pauseMs); // it works
        outgoing.writeHead(307, { Location: `https://bucket.example/${"x".repeat(12_000)}`, Bytes: received.length });
        for (let i = 0; i < blocks; i++) if (!outgoing.write(block)) await once(outgoing, "drain");
        outgoing.end();
      })();
    });
    slow.listen(0, "127.0.0.1");
    await once(slow, "listening");
    const address = slow.address();
    if (address === null || typeof address === "string") throw new Error("expected a port");
    const proxy = await startProxy(kind, { upstreamPort: address.port, defaults: shortDefaults });
    try {
      const asking = askProxy(proxy, "/", { method: "PUT" });
      const body = async function* (): AsyncGenerator<Buffer> {
        for (let i = 0; i < blocks; i++) {
          if (i === blocks - 1) await sleep(pauseMs); // its client is slow
          yield block;
        }
      };
      const sent = pipeline(Readable.from(body()), asking);
      const answer = await answerOf(asking);
      await sent;
      expect(answer.statusCode, await proxy.log()).toBe(307);
      expect(answer.headers).toMatchObject({ bytes: String(blocks * mebibyte) });
      await sleep(pauseMs); // so is its reader
      expect(await proxy.log()).not.toContain("temporary file");
      expect((await readAll(answer)).length).toBe(blocks * mebibyte);
    } finally {
      await proxy.stop();
      slow.closeAllConnections();
      slow.close();
    }
  });
}

interface Asking {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function askProxy({ url, certificate }: Proxy, path: string, { method = "GET", headers }: Asking): ClientRequest {
  const { port, host, hostname } = new URL(url);
  return request({
    method,
    path,
    port,
    host: "127.0.0.1",
    servername: hostname,
    ca: certificate,
    headers: { ...headers, Host: host },
    agent: false,
  });
}

async function answerOf(asking: ClientRequest): Promise<IncomingMessage> {
  const [answer] = (await once(asking, "response")) as [IncomingMessage];
  return answer;
}

async function textOf(answer: IncomingMessage): Promise<string> {
  return (await readAll(answer)).toString();
}

/** The tarball, with a pause after so many bytes. */
async function* pausing({ body }: StreamedLoad, bytes: number, end: Promise<void>): AsyncGenerator<Buffer> {
  let sent = 0;
  for await (const chunk of body()) {
    if (sent < bytes && sent + chunk.length >= bytes) await end;
    sent += chunk.length;
    yield chunk;
  }
}

async function sizeOf(folder: string): Promise<number> {
  const sizes = (await listFiles(folder)).map(async (file) => {
    return (await stat(join(folder, file)).catch(() => undefined))?.size ?? 0;
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
