/** Answers over real connections: the memory of their chunks, and their events, which come when the answer has ended, also if its client breaks off. */
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import type { RequestEvent } from "../../src/events.ts";
import type { Listener } from "../../src/runtimes/run-service.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { handOver } from "../../src/streams/chunk-memory.ts";
import { sha256 } from "../support/bytes.ts";
import { until } from "../support/run-stowage.ts";
import { layer, say, serve, tarball } from "./serve-node.ts";

/** The bytes of a body that come before the store stalls. */
const firstBytes = 1000;

const halfBytes = layer.length / 2;
const layerPath = `/v2/team/app/blobs/${sha256(layer)}`;

class StallingStore extends MemoryStore {
  isStalling = false;

  override async get(...args: Parameters<MemoryStore["get"]>): ReturnType<MemoryStore["get"]> {
    const object = await super.get(...args);
    if (object === undefined || !this.isStalling || !args[0].startsWith("blobs/")) return object;
    let chunks = 0;
    let end: ((result: IteratorResult<Uint8Array>) => void) | undefined;
    const ended = new Promise<IteratorResult<Uint8Array>>((resolve) => (end = resolve));
    const body: AsyncIterator<Uint8Array> = {
      next: async () => (chunks++ === 0 ? { done: false, value: layer.subarray(0, firstBytes) } : ended),
      return: async () => {
        end?.({ done: true, value: undefined });
        return ended;
      },
    };
    return { ...object, body: { [Symbol.asyncIterator]: () => body } };
  }
}

/** Hands over the layer in two chunks, which a client that does not read leaves in its connection. */
class HandingStore extends MemoryStore {
  readonly chunks: Uint8Array[] = [];

  override async get(...args: Parameters<MemoryStore["get"]>): ReturnType<MemoryStore["get"]> {
    const object = await super.get(...args);
    if (object?.size !== layer.length) return object;
    for (const half of [0, 1])
      this.chunks.push(Uint8Array.from(layer.subarray(half * halfBytes, (half + 1) * halfBytes)));
    const chunks = this.chunks.values();
    const body = handOver({ next: async () => chunks.next() });
    return { ...object, body: { [Symbol.asyncIterator]: () => body } };
  }
}

describe("the answer to a pull on Node", () => {
  it("keeps the memory of a chunk until it is sent, and then frees it", async () => {
    const store = new HandingStore();
    const listener = await serve({ store, limits: { maxIdleSeconds: 60 } });
    expect((await fetch(`${listener.url}/v1/load`, { method: "PUT", body: tarball })).status).toBe(201);
    store.chunks.splice(0);
    const client = say(listener, `GET ${layerPath} HTTP/1.1\r\nHost: x\r\n\r\n`);
    client.socket.pause();
    await until(() => store.chunks.at(-1));
    await sleep(100); // the connection is full now
    expect(store.chunks.at(-1)?.length).toBe(halfBytes);
    client.socket.resume();
    const sent = await until(() => {
      const body = client.heard().split("\r\n\r\n").slice(1).join("\r\n\r\n");
      return body.length === layer.length ? Buffer.from(body, "latin1") : undefined;
    });
    expect(sha256(sent)).toBe(sha256(layer));
    await until(() => store.chunks.every(({ length }) => length === 0) || undefined);
  });
});

describe("the event of a request on Node", () => {
  let store: StallingStore;
  let requests: RequestEvent[];
  let listener: Listener;
  beforeEach(async () => {
    requests = [];
    store = new StallingStore();
    listener = await serve({
      store,
      report: (event) => void (event.event === "request" && requests.push(event)),
      limits: { maxIdleSeconds: 60 },
    });
    expect((await fetch(`${listener.url}/v1/load`, { method: "PUT", body: tarball })).status).toBe(201);
    await nextRequest();
  });

  async function nextRequest(): Promise<RequestEvent | undefined> {
    return until(() => requests.shift());
  }

  it("has the bytes of a whole answer, and none for HEAD", async () => {
    await (await fetch(listener.url + layerPath)).arrayBuffer();
    expect(await nextRequest()).toMatchObject({
      status: 200,
      outcome: "ok",
      bytesOut: layer.length,
      client: "127.0.0.1",
    });
    await fetch(listener.url + layerPath, { method: "HEAD" });
    expect(await nextRequest()).toMatchObject({ status: 200, outcome: "ok", bytesOut: 0 });
    const error = await (await fetch(`${listener.url}/v2/team/app/manifests/none`)).text();
    expect(await nextRequest()).toMatchObject({ status: 404, outcome: "ok", bytesOut: Buffer.byteLength(error) });
  });

  it("has the bytes that were sent before a client broke off a pull", async () => {
    store.isStalling = true;
    const client = say(listener, `GET ${layerPath} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until(() => (client.heard().split("\r\n\r\n")[1]?.length === firstBytes ? true : undefined));
    client.socket.destroy();
    expect(await nextRequest()).toMatchObject({
      status: 200,
      outcome: "gone",
      code: undefined,
      bytesOut: firstBytes,
    });
  });

  it("has the bytes that came before a client broke off a load", async () => {
    const head = `PUT /v1/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${tarball.length}\r\n\r\n`;
    const client = say(listener, head);
    client.socket.end(tarball.subarray(0, 100_000));
    expect(await nextRequest()).toMatchObject({ method: "PUT", status: 499, outcome: "gone", message: undefined });
  });

  it("says that the body of a refused request was not read", async () => {
    const refused = await fetch(`${listener.url}/v1/load/UPPER`, { method: "PUT", body: tarball });
    expect(refused.status).toBe(400);
    expect(await nextRequest()).toMatchObject({ status: 400, outcome: "refused", code: "NAME_INVALID", bytesIn: 0 });
  });
});
