/** A server that answers as a test wants, with what it was asked: for registries that are hostile, broken or slow. */
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../src/clock.ts";

export interface FakeRegistry {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** Method, path and query of each request: `GET /v2/app/tags/list?n=1000`. */
  readonly asked: string[];
  /** The `Authorization` of each request. */
  readonly shown: (string | undefined)[];
  /** Connections that are open. */
  readonly connections: () => Promise<number>;
  readonly close: () => Promise<void>;
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => unknown;

export async function startFakeRegistry(answer: Answer): Promise<FakeRegistry> {
  const asked: string[] = [];
  const shown: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    shown.push(request.headers.authorization);
    response.on("error", () => undefined);
    answer(request, response);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    shown,
    connections: async () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      }),
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A clock whose waits take no time; `waits` has them, in seconds. */
export function quickClock(): { readonly clock: Clock; readonly waits: number[] } {
  const waits: number[] = [];
  const clock: Clock = {
    now: () => Date.UTC(2026, 10, 30),
    sleep: async (ms, signal) => {
      waits.push(ms / 1000);
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
    },
    random: () => 1,
  };
  return { clock, waits };
}

export interface RoughRegistry {
  /** With a user and a password. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

/**
 * A registry as rough as real ones: it wants a password, and sends clients to a bucket that shows them out if they show it
 * there, and that breaks off when it is asked for the whole blob.
 */
export async function startRoughRegistry(blob: Uint8Array): Promise<RoughRegistry> {
  const bucket = await startFakeRegistry(({ headers }, response) => {
    const start = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
    const length = { "Content-Length": blob.length - start };
    const range = { "Content-Range": `bytes ${start}-${blob.length - 1}/${blob.length}` };
    if (headers.authorization !== undefined) response.writeHead(400).end();
    else if (start > 0) response.writeHead(206, { ...length, ...range }).end(blob.subarray(start));
    else response.writeHead(200, length).write(blob.subarray(0, blob.length / 2), () => response.destroy());
  });
  const registry = await startFakeRegistry(({ headers }, response) => {
    if (headers.authorization === `Basic ${Buffer.from("me:secret").toString("base64")}`) {
      response.writeHead(307, { Location: `${bucket.url}/blob` }).end();
    } else response.writeHead(401, { "WWW-Authenticate": 'Basic realm="rough"' }).end();
  });
  const close = async (): Promise<void> => {
    await registry.close();
    await bucket.close();
  };
  return { url: registry.url.replace("//", "//me:secret@"), close };
}
