/** The service on Node: a tarball's way starts here, with the incoming message itself, not a web stream made of it. */
import { once } from "node:events";
import { type IncomingMessage, Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type HttpBindings, createAdaptorServer } from "@hono/node-server";
import type { Context } from "hono";
import { type Runtime, urlOf } from "./run-service.ts";

/** Read ahead of each upload. Measured: with Node's 64 KiB a load waits for its socket a little more often. */
const socketBufferBytes = 256 * 1024;

export const node: Runtime = {
  bodyOf,
  hangUp: (c: Context<{ Bindings: HttpBindings }>) => void c.env.outgoing.destroy(),

  async listen(fetch, { host, port, limits }) {
    const server = createAdaptorServer({ fetch, serverOptions: { highWaterMark: socketBufferBytes } });
    if (!(server instanceof Server)) throw new TypeError("expected an HTTP/1.1 server");
    server.requestTimeout = 0; // an upload takes as long as it takes
    server.setTimeout(limits.maxIdleSeconds * 1000);
    server.on("request", (_: IncomingMessage, outgoing: ServerResponse) => outgoing.on("timeout", closeIfUnread));
    server.on("checkContinue", (incoming: IncomingMessage, outgoing: ServerResponse) => {
      awaitingContinue.add(incoming);
      server.emit("request", incoming, outgoing);
    });
    server.listen(port, host);
    await once(server, "listening");
    const address = server.address();
    return {
      url: urlOf(host, typeof address === "object" && address !== null ? address.port : port),
      async close() {
        const closed = once(server, "close");
        server.close();
        await closed;
      },
      cut: () => server.closeAllConnections(),
    };
  },
};

/** Requests whose client sends no body before it is told to (`Expect: 100-continue`, RFC 9110, section 10.1.1). */
const awaitingContinue = new WeakSet<IncomingMessage>();

/** Read only once it is asked for, so that who is refused before that is not told to send it first. */
function bodyOf(c: Context<{ Bindings: HttpBindings }>): AsyncIterable<Uint8Array> {
  const { incoming, outgoing } = c.env;
  return {
    [Symbol.asyncIterator]() {
      if (awaitingContinue.delete(incoming)) outgoing.writeContinue();
      // Leaving early must not destroy it: the answer, which says why, goes over the same connection.
      return incoming.iterator({ destroyOnReturn: false });
    },
  };
}

/**
 * The socket has been still for a while, in the middle of a request. That is the client's doing only if it does not read
 * what was sent to it; otherwise it waits for us. (If its body is awaited, that has its own limit, for every runtime.)
 */
function closeIfUnread(socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy();
}
