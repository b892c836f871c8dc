/** The service on Node: a tarball's way starts here, with the incoming message itself, not a web stream made of it. */
import { type HttpBindings, getRequestListener, RequestError } from "@hono/node-server";
import type { Context, Hono } from "hono";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { Socket } from "node:net";
import { StowageError } from "../errors.ts";
import { errorResponse } from "../http/error-response.ts";
import { FloodGate } from "../http/report-requests.ts";
import { gatherChunks } from "./gather-chunks.ts";
import { IdleConnections } from "./idle-connections.ts";
import { answerUnparsed, logRefusal, refuseHostless } from "./refuse-unread.ts";
import { RequestTurns } from "./request-turns.ts";
import { type Listener, type ListenOptions, type Runtime, urlOf } from "./run-service.ts";

/** Read ahead of each upload. Measured: with Node's 64 KiB a load waits for its socket a little more often. */
const socketBufferBytes = 256 * 1024;

/** How often connections are looked for on which the headers of a request take too long. */
const checkHeadersMs = 1000;

/** So often the log says at most that there are too many connections. */
const dropLogMs = 60_000;

export interface NodeListener extends Listener {
  readonly server: Server;
}

export const node = {
  bodyOf,
  hangUp: (c: Context<{ Bindings: HttpBindings }>) => void c.env.outgoing.destroy(),

  async listen(fetch: Hono["fetch"], options: ListenOptions): Promise<NodeListener> {
    const { host, port, log } = options;
    const idle = new IdleConnections();
    const server = makeServer(fetch, { ...options, idle });
    server.listen(port, host);
    await once(server, "listening");
    server.on("error", (error) => log(`cannot take a connection: ${error.message}`)); // it takes the next one
    const address = server.address();
    return {
      server,
      url: urlOf(host, typeof address === "object" && address !== null ? address.port : port),
      async close() {
        const closed = once(server, "close");
        server.close();
        idle.stop();
        await closed;
      },
      cut: () => server.closeAllConnections(),
    };
  },
} satisfies Runtime;

interface ServerOptions extends ListenOptions {
  readonly idle: IdleConnections;
}

function makeServer(fetch: Hono["fetch"], options: ServerOptions): Server {
  const { limits, keepAliveSeconds, maxConnections, idle } = options;
  const flood = new FloodGate(options.log);
  const log = (line: string): void => flood.write("requests were refused before they were read", line);
  const keepAliveTimeout = keepAliveSeconds * 1000;
  const serverOptions = {
    highWaterMark: socketBufferBytes,
    keepAliveTimeout,
    headersTimeout: keepAliveTimeout + checkHeadersMs, // a shorter one has closed idle connections
    connectionsCheckingInterval: checkHeadersMs,
    requestTimeout: 0, // an upload takes as long as it takes
    requireHostHeader: false, // `refuseHostless` does that, with an error that clients can read
  };
  const turns = new RequestTurns(requestListener(fetch, log), { idle, log });
  const server = createServer(serverOptions);
  server.maxConnections = maxConnections;
  idle.watch(server, maxConnections);
  server.setTimeout(limits.maxIdleSeconds * 1000);
  const take = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    gatherChunks(incoming);
    turns.take(incoming, outgoing);
  };
  server.on("request", take).on("checkExpectation", take);
  server.on("checkContinue", (incoming: IncomingMessage, outgoing: ServerResponse) => {
    awaitingContinue.add(incoming);
    take(incoming, outgoing);
  });
  answerUnparsed(server, { log, current: (socket) => turns.current(socket) });
  logDrops(server, options.log);
  return server;
}

function requestListener(
  fetch: Hono["fetch"],
  log: (line: string) => void,
): (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void> {
  const answer = getRequestListener(fetch, {
    hostname: "localhost", // of a request by HTTP/1.0 that does not say any
    autoCleanupIncoming: false, // `readOn` does that
    errorHandler: (error) => {
      if (!(error instanceof RequestError)) throw error; // the app answers its own errors
      const refusal = new StowageError("INPUT_INVALID", `Cannot read the request: ${error.message}`);
      logRefusal(400, refusal, log);
      return errorResponse(refusal);
    },
  });
  return async (incoming, outgoing) => {
    outgoing.on("timeout", closeIfUnread);
    if (!(await refuseHostless(incoming, outgoing, log))) await answer(incoming, outgoing);
  };
}

/** Connections over the cap, none of which is idle, are closed without an answer. The log says so. */
function logDrops(server: Server, log: (line: string) => void): void {
  let lastMs = -Infinity;
  server.on("drop", () => {
    if (performance.now() - lastMs < dropLogMs) return;
    lastMs = performance.now();
    log(`closed a new connection: there are ${server.maxConnections}, as many as STOWAGE_MAX_CONNECTIONS allows`);
  });
}

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
