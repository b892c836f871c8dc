/** Which connections the service on Node closes by itself, and what it tells a client that waits before it sends a body. */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { connectTo, hear, idleMs, layer, serve, tarball } from "./serve-node.ts";

describe("the service on Node", () => {
  it("lets a client wait for its answer longer than it may be silent while its body is awaited", async () => {
    const store = new MemoryStore();
    const put = store.put.bind(store);
    let calls = 0;
    store.put = async (...args) => {
      if (args[0].endsWith("index.json") && calls++ === 0) await sleep(4 * idleMs);
      return put(...args);
    };
    const response = await fetch(`${(await serve({ store })).url}/v1/load`, { method: "PUT", body: tarball });
    expect(response.status).toBe(201);
    expect(calls).toBeGreaterThan(0);
  });

  it("closes the connection of a client that does not read its answer", async () => {
    const listener = await serve();
    await fetch(`${listener.url}/v1/load`, { method: "PUT", body: tarball });
    const client = connectTo(listener, `GET /v2/team/app/blobs/${sha256(layer)} HTTP/1.1`);
    await once(client.socket, "connect");
    client.socket.pause();
    await sleep(4 * idleMs);
    client.socket.resume();
    await client.closed;
    expect(client.heard().length).toBeLessThan(layer.length);
  });

  it("keeps nothing of a body that nobody reads, while its client does not read the answer", async () => {
    const listener = await serve({ limits: { maxIdleSeconds: 60 } });
    await fetch(`${listener.url}/v1/load`, { method: "PUT", body: tarball });
    const body = Buffer.alloc(40_000_000);
    const request = `GET /v2/team/app/blobs/${sha256(layer)} HTTP/1.1`;
    const client = connectTo(listener, request, `Content-Length: ${body.length}`);
    client.socket.pause();
    await new Promise((resolve) => client.socket.write(body, resolve));
    client.socket.resume();
    while (client.heard().length < layer.length) await sleep(10);
    client.socket.write("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    await hear(client, "ok\n");
    expect(client.heard()).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("answers a client that falls silent in the middle of its body, and closes its connection", async () => {
    const client = connectTo(await serve(), "PUT /v1/load HTTP/1.1", `Content-Length: ${tarball.length}`);
    client.socket.write(tarball.subarray(0, 100_000));
    await hear(client, "TIMED_OUT");
    await client.closed;
    expect(client.heard()).toMatch(/^HTTP\/1\.1 408 /);
  });

  it("closes a connection over which no further request comes", async () => {
    const client = connectTo(await serve({}, { keepAliveSeconds: 1 }), "GET /healthz HTTP/1.1");
    await hear(client, "ok");
    await client.closed;
  });

  it.each([
    ["a name that is none", "PUT /v1/load/Team/App HTTP/1.1", "400 "],
    ["a method that there is not", "PATCH /v1/load HTTP/1.1", "405 "],
    ["a length over the limit", "PUT /v1/load HTTP/1.1", "413 "],
    ["a part of no upload", "PUT /v1/uploads/0123456789abcdef0123456789abcdef/parts/1?key=x HTTP/1.1", "404 "],
  ])("answers %s without asking for the body", async (_, request, status) => {
    const listener = await serve({ limits: { maxBodyBytes: 100 } });
    const client = connectTo(listener, request, "Expect: 100-continue", "Content-Length: 1000");
    await hear(client, "errors");
    expect(client.heard()).toMatch(new RegExp(`^HTTP/1\\.1 ${status}`));
  });

  it("asks for a body that it takes, once", async () => {
    const lines = ["PUT /v1/load HTTP/1.1", "Expect: 100-continue", `Content-Length: ${tarball.length}`];
    const client = connectTo(await serve(), ...lines);
    await hear(client, "100 Continue");
    client.socket.write(tarball);
    await hear(client, "team/app");
    expect(client.heard()).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201 /);
  });

  it("publishes nothing where the connection ends before the announced length", async () => {
    const listener = await serve();
    const client = connectTo(listener, "PUT /v1/load HTTP/1.1", `Content-Length: ${tarball.length + 1}`);
    client.socket.end(tarball);
    await client.closed;
    expect((await fetch(`${listener.url}/v2/team/app/manifests/1.4`)).status).toBe(404);
  });

  it("refuses a length that is none, and bytes beyond it", async () => {
    const listener = await serve();
    const negative = connectTo(listener, "PUT /v1/load HTTP/1.1", "Content-Length: -5");
    await hear(negative, "HTTP/1.1 400 ");
    const long = connectTo(listener, "PUT /v1/load HTTP/1.1", "Content-Length: 600");
    long.socket.write(tarball);
    await long.closed;
    expect((await fetch(`${listener.url}/v2/team/app/manifests/1.4`)).status).toBe(404);
  });
});
