/** The service on Node: a tarball's way starts here, with the incoming message itself, not a web stream made of it. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Server } from "node:http";
import { type HttpBindings, createAdaptorServer } from "@hono/node-server";
import type { Context } from "hono";
import { StowageError } from "../errors.ts";
import { type AppOptions, createApp } from "../http/app.ts";

export interface ServeOptions extends Omit<AppOptions, "bodyOf" | "signal"> {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** How long `stop` lets what runs finish. */
  readonly stopSeconds: number;
}

export interface RunningService {
  readonly url: string;
  /** Takes no more requests, lets those that run finish, and ends what still runs after `stopSeconds`. */
  stop(): Promise<void>;
  /** Ends what runs, at once but cleanly: nothing unfinished is left in the store. */
  end(): void;
}

/** Read ahead of each upload. Measured: with Node's 64 KiB a load waits for its socket a little more often. */
const socketBufferBytes = 256 * 1024;

/** A connection over which nothing goes for so long is closed: nobody holds a share of the memory by saying nothing. */
const idleTimeoutMs = 300_000;

/** How long a service that ends what runs waits for the last answers to go out. */
const farewellMs = 2000;

/** Serves until it is stopped. Throws what `listen` does, such as that the port is taken. */
export async function serve({ host, port, stopSeconds, ...options }: ServeOptions): Promise<RunningService> {
  const ending = new AbortController();
  const app = createApp({ ...options, bodyOf: incomingOf, signal: ending.signal });
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions: { highWaterMark: socketBufferBytes } });
  if (!(server instanceof Server)) throw new TypeError("expected an HTTP/1.1 server");
  server.requestTimeout = 0; // an upload takes as long as it takes
  server.setTimeout(idleTimeoutMs);
  server.listen(port, host);
  await once(server, "listening");

  const end = (): void => {
    ending.abort(new StowageError("INTERRUPTED", "Cannot finish: the service is stopping"));
    setTimeout(() => server.closeAllConnections(), farewellMs).unref();
  };
  return {
    url: urlOf(server, host),
    end,
    async stop() {
      const closed = once(server, "close");
      server.close();
      const timer = setTimeout(end, stopSeconds * 1000);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Leaving early must not destroy it: the answer, which says why, goes over the same connection. */
function incomingOf(c: Context<{ Bindings: HttpBindings }>): AsyncIterable<Uint8Array> {
  return c.env.incoming.iterator({ destroyOnReturn: false });
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
