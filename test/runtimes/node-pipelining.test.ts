/** How many of the requests that come on one connection run at a time, and what becomes of them when it closes. */
import { beforeEach, describe, expect, it } from "vitest";
import type { Listener } from "../../src/runtimes/run-service.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { sha256 } from "../support/bytes.ts";
import { until } from "../support/run-stowage.ts";
import { hear, layer, log, say, serve, tarball } from "./serve-node.ts";

/** A store that counts what is open. */
class CountingBodies extends MemoryStore {
  open = 0;
  most = 0;
  opened = 0;

  override async get(...args: Parameters<MemoryStore["get"]>): ReturnType<MemoryStore["get"]> {
    const object = await super.get(...args);
    if (object === undefined || !args[0].startsWith("blobs/")) return object;
    this.opened++;
    this.most = Math.max(this.most, ++this.open);
    const chunks = object.body[Symbol.asyncIterator]();
    const close = (): void => void this.open--;
    const body = {
      next: async () => {
        const next = await chunks.next();
        if (next.done === true) close();
        return next;
      },
      return: async () => {
        close();
        return { done: true as const, value: undefined };
      },
    };
    return { ...object, body: { [Symbol.asyncIterator]: () => body } };
  }
}

describe("requests that are sent on one connection without waiting", () => {
  const pull = `GET /v2/team/app/blobs/${sha256(layer)} HTTP/1.1\r\nHost: x\r\n\r\n`;
  let store: CountingBodies;
  let listener: Listener;
  beforeEach(async () => {
    store = new CountingBodies();
    listener = await serve({ store, limits: { maxIdleSeconds: 60 } });
    await fetch(`${listener.url}/v1/load`, { method: "PUT", body: tarball });
    Object.assign(store, { open: 0, most: 0, opened: 0 });
  });

  it("are answered in order", async () => {
    const paths = Array.from({ length: 40 }, (_, i) => `/v2/team/app/manifests/tag-${i}`);
    const client = say(listener, paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(""));
    await hear(client, "tag-39");
    expect([...client.heard().matchAll(/"message":"[^}]*?(tag-\d+)/g)].map(([, tag]) => tag)).toEqual(
      paths.map((path) => path.split("/").at(-1)),
    );
  });

  it("are not answered with the refusal of a CONNECT behind them", async () => {
    const client = say(listener, `${pull}CONNECT example:443 HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.closed;
    expect(client.heard()).not.toContain("CONNECT");
    await until(() => (store.open === 0 ? true : undefined));
  });

  it("run one at a time, and open nothing before", async () => {
    const client = say(listener, pull.repeat(4));
    await until(() => (client.socket.bytesRead >= 4 * layer.length ? true : undefined));
    expect(store).toMatchObject({ opened: 4, most: 1 });
    await until(() => (store.open === 0 ? true : undefined));
  });

  it("end with the connection", async () => {
    const client = say(listener, pull.repeat(50));
    client.socket.pause();
    await until(() => (store.open > 0 ? true : undefined));
    client.socket.destroy();
    await until(() => (store.open === 0 ? true : undefined));
    expect((await fetch(`${listener.url}/healthz`)).status).toBe(200);
    expect(store).toMatchObject({ open: 0, opened: 1 });
  });

  const longHeaders = Array.from({ length: 1000 }, (_, i) => `h${i}: v\r\n`).join("");

  it.each([
    ["many", pull.repeat(500), "101 requests"],
    ["large", pull + pull.replace("\r\n\r\n", `\r\n${longHeaders}\r\n`).repeat(2), "2 requests"],
  ])("close the connection if they are too %s", async (_, requests, found) => {
    const client = say(listener, requests);
    client.socket.pause();
    await until(() => (log.length > 0 ? true : undefined));
    client.socket.resume();
    await client.closed;
    await until(() => (store.open === 0 ? true : undefined));
    expect(log).toEqual([expect.stringContaining(`closed a connection on which ${found} of `)]);
    expect(store.opened).toBeLessThanOrEqual(1);
  });

  it("may have bodies", async () => {
    const load = `PUT /v1/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${tarball.length}\r\n\r\n`;
    const client = say(listener, pull);
    client.socket.write(Buffer.concat([Buffer.from(load), tarball, Buffer.from(load), tarball]));
    await until(() => (client.heard().match(/"unchanged"/g)?.length === 2 ? true : undefined));
  });
});
