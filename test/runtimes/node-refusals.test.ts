/** What the service on Node answers before the app sees a request, and how an answer reaches a client that still sends. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { connectTo, hear, log, say, serve } from "./serve-node.ts";

describe("what is no request for the app", () => {
  it.each([
    ["what is not HTTP", "\u0016\u0003\u0001\r\n\r\n", 400, "INPUT_INVALID"],
    ["HTTP/1.1 without a Host", "GET /healthz HTTP/1.1\r\n\r\n", 400, "INPUT_INVALID"],
    ["a Host that is none", "GET /healthz HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400, "INPUT_INVALID"],
    ["a path that is too long", `GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, "LIMIT_EXCEEDED"],
    [
      "a chunk that has no length",
      "PUT /v1/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
      400,
      "INPUT_INVALID",
    ],
    ["CONNECT", "CONNECT example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "UNSUPPORTED"],
    ["headers that do not come", "GET /healthz HTTP/1.1\r\nHo", 408, "TIMED_OUT"],
  ])("%s gets an error that clients can read, and a line in the log", { timeout: 20_000 }, async (...example) => {
    const [, text, status, code] = example;
    const client = say(await serve({ limits: { maxIdleSeconds: 60 } }, { keepAliveSeconds: 1 }), text);
    await hear(client, "\r\n\r\n{");
    const [head = "", body = ""] = client.heard().split("\r\n\r\n");
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(body)).toMatchObject({ errors: [{ code }] });
    expect(log).toContainEqual(expect.stringContaining(`refused a request before it was read, ${status}: ${code}: `));
    await client.closed;
  });

  it("TLS is told that the port takes plain HTTP, and the log is told once", async () => {
    const listener = await serve();
    for (let i = 0; i < 3; i++) {
      const client = say(listener, "\u0016\u0003\u0001\r\n\r\n");
      await client.closed;
      expect(client.heard()).toContain("the client speaks TLS, and this port takes plain HTTP: ask it by http://");
    }
    expect(log).toEqual([expect.stringContaining("the client speaks TLS")]);
  });

  it("does not flood the log", { timeout: 20_000 }, async () => {
    const listener = await serve();
    for (let i = 0; i < 200; i++) {
      const client = say(listener, "nonsense\r\n\r\n");
      await hear(client, "INPUT_INVALID");
      client.socket.destroy();
    }
    expect(log).toHaveLength(121);
    expect(log[120]).toBe(
      "120 requests were refused before they were read within a minute: more are counted, not shown",
    );
  });

  it("a connection on which nothing comes is closed without a word", async () => {
    const client = say(await serve({ limits: { maxIdleSeconds: 60 } }, { keepAliveSeconds: 1 }), "");
    await client.closed;
    expect([client.heard(), log]).toEqual(["", []]);
  });

  it("HTTP/1.0 wants no Host", async () => {
    const client = say(await serve(), "GET /healthz HTTP/1.0\r\n\r\n");
    await client.closed;
    expect(client.heard()).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok\n$/s);
  });

  it("an expectation that is none of HTTP's is passed over", async () => {
    const client = connectTo(await serve(), "GET /healthz HTTP/1.1", "Expect: pie");
    await hear(client, "200 OK");
  });

  it("connections over the cap are closed, and the log says so once", async () => {
    const listener = await serve({}, { maxConnections: 1 });
    const first = connectTo(listener, "GET /healthz HTTP/1.1");
    await hear(first, "200 OK");
    for (let i = 0; i < 3; i++) {
      const refused = connectTo(listener, "GET /healthz HTTP/1.1");
      await refused.closed;
      expect(refused.heard()).toBe("");
    }
    expect(log).toEqual([expect.stringContaining("STOWAGE_MAX_CONNECTIONS")]);
  });

  it.each([
    ["have sent nothing", "", ""],
    ["have got their answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"],
    ["stop in the middle of a request's headers", "GET /healthz HTTP/1.1\r\nHo", ""],
  ])("a new connection gets in though others that %s are as many as are allowed", async (_, text, answer) => {
    const listener = await serve({ limits: { maxIdleSeconds: 60 } }, { maxConnections: 4 });
    for (let i = 0; i < 10; i++) await hear(say(listener, text), answer);
    await hear(connectTo(listener, "GET /healthz HTTP/1.1"), "200 OK");
  });

  it("a new connection ends no request", async () => {
    const listener = await serve({ limits: { maxIdleSeconds: 60 } }, { maxConnections: 4 });
    const loader = connectTo(listener, "PUT /v1/load HTTP/1.1", "Expect: 100-continue", "Content-Length: 600");
    await hear(loader, "100 Continue");
    for (let i = 0; i < 10; i++) say(listener, "");
    await hear(connectTo(listener, "GET /healthz HTTP/1.1"), "200 OK");
    loader.socket.write("x".repeat(600));
    await hear(loader, "ARCHIVE_INVALID");
  });
});

describe("a client that is refused while it sends", () => {
  const request = "PUT /v1/load/Team/App HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;

  it("can go on for a while before it looks for its answer", { timeout: 20_000 }, async () => {
    const client = say(await serve(), request);
    client.socket.pause();
    for (let i = 0; i < 30; i++) {
      await new Promise((resolve) => client.socket.write(chunk, resolve));
      await sleep(100);
    }
    expect(client.socket.destroyed).toBe(false);
    client.socket.resume();
    await hear(client, "NAME_INVALID");
  });

  it("can go on with the same connection if little was left", async () => {
    const client = say(await serve(), `${request}${chunk}0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n`);
    await hear(client, "200 OK");
    expect(client.heard()).toContain("NAME_INVALID");
  });

  it("is cut off if it never ends", { timeout: 20_000 }, async () => {
    const client = say(await serve(), request);
    await hear(client, "NAME_INVALID");
    let sent = 0;
    while (!client.socket.destroyed && sent < 2 ** 30) {
      await Promise.race([new Promise((resolve) => client.socket.write(chunk, resolve)), client.closed]);
      sent += chunk.length;
    }
    expect(sent).toBeLessThan(200_000_000);
  });
});
