/** The service on Node: a tarball's way starts here, with the incoming message itself, not a web stream made of it. */
import { once } from "node:events";
import { Server } from "node:http";
import { type HttpBindings, createAdaptorServer } from "@hono/node-server";
import type { Context } from "hono";
import { type Runtime, maxSilenceMs, urlOf } from "./run-service.ts";

/** Read ahead of each upload. Measured: with Node's 64 KiB a load waits for its socket a little more often. */
const socketBufferBytes = 256 * 1024;

export const node: Runtime = {
  /** Leaving early must not destroy it: the answer, which says why, goes over the same connection. */
  bodyOf: (c: Context<{ Bindings: HttpBindings }>) => c.env.incoming.iterator({ destroyOnReturn: false }),

  async listen(fetch, { host, port }) {
    const server = createAdaptorServer({ fetch, serverOptions: { highWaterMark: socketBufferBytes } });
    if (!(server instanceof Server)) throw new TypeError("expected an HTTP/1.1 server");
    server.requestTimeout = 0; // an upload takes as long as it takes
    server.setTimeout(maxSilenceMs);
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
