/** The service on Node. Bodies are read from Node's incoming message, because a web stream made from it is slower. */
import { type HttpBindings, getRequestListener, RequestError } from "@hono/node-server";
import type { Context, Hono } from "hono";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { Socket } from "node:net";
import { StowageError } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { errorResponse } from "../http/error-response.ts";
import type { SentAnswer } from "../http/report-requests.ts";
import { isNode } from "../is-node.ts";
import { freeChunk, handOver } from "../streams/chunk-memory.ts";
import { acceptMore, canSharePort, checkPort } from "./accept-more.ts";
import { Connections } from "./connections.ts";
import { threadHasher } from "./hash-thread.ts";
import { IncomingChunks, joinSmallChunks } from "./incoming-body.ts";
import { answerUnparsed, refuseHostless } from "./refuse-unread.ts";
import { type Listener, type ListenSettings, type Runtime, urlOf } from "./run-service.ts";

/**
 * Bytes that are read ahead of each request's body, and bytes of an answer that wait for a client that does not read.
 * Measured: with Node's 64 KiB a load waits for its socket a little more often; with 256 KiB it is no faster.
 */
const socketBufferBytes = 128 * 1024;

/** Node looks this often for connections on which the headers of a request take too long. */
const checkHeadersMs = 1000;

/** The log says at most this often that new connections were closed. */
const dropLogMs = 60_000;

type NodeContext = Context<{ Bindings: HttpBindings }>;

export interface NodeListener extends Listener {
  readonly server: Server;
}

/**
 * Node as a `Runtime`. `runService` calls `listen` with the `fetch` of the app. The way of a request: Node's server ->
 * `Connections` -> `requestListener` -> `fetch`. The app then reads the body by `bodyOf`.
 */
export class NodeRuntime implements Runtime {
  readonly ignores = ["STOWAGE_GC_EVERY"]; // nothing triggers gc: a timer of the system runs `stowage gc`
  readonly hasher = isNode() ? threadHasher() : undefined;
  /** Requests whose client sends its body only after a `100 Continue` (RFC 9110, section 10.1.1). */
  readonly #awaitingContinue = new WeakSet<IncomingMessage>();

  /** The `100 Continue` goes out when the body is first read: a refused client need not send its body. */
  readonly bodyOf = (c: NodeContext): AsyncIterable<Uint8Array> => {
    const { incoming, outgoing } = c.env;
    return {
      [Symbol.asyncIterator]: () => {
        if (this.#awaitingContinue.delete(incoming)) outgoing.writeContinue();
        return handOver(new IncomingChunks(incoming));
      },
    };
  };

  readonly hangUp = (c: NodeContext): void => void c.env.outgoing.destroy();

  readonly clientOf = (c: NodeContext): string | undefined => c.env.incoming.socket.remoteAddress;

  readonly watchAnswer = (c: NodeContext, onEnd: (sent: SentAnswer) => void): void => {
    const { outgoing } = c.env;
    const count = watchWrites(outgoing);
    outgoing.once("close", () => {
      onEnd({ bytes: c.req.method === "HEAD" ? 0 : count(), isWhole: outgoing.writableFinished });
    });
  };

  async listen(fetch: Hono["fetch"], settings: ListenSettings, report: Report): Promise<NodeListener> {
    const { host, port } = settings;
    const connections = new Connections(requestListener(fetch, report), report);
    const server = this.#makeServer(settings, connections);
    answerUnparsed(server, connections, report);
    reportDrops(server, report);
    if (canSharePort && port !== 0) await checkPort(host, port);
    server.listen({ host, port, reusePort: canSharePort });
    await once(server, "listening");
    // An error of one connection must not end the service: the next one may work.
    server.on("error", (error) => report(notice("error", `cannot take a connection: ${error.message}`)));
    const address = server.address();
    const boundPort = typeof address === "object" && address !== null ? address.port : port;
    const more = canSharePort ? await acceptMore(server, host, boundPort) : [];
    return {
      server,
      url: urlOf(host, boundPort),
      async close() {
        const closed = Promise.all([server, ...more].map(async (each) => once(each, "close")));
        for (const each of [server, ...more]) each.close();
        connections.stop();
        await closed;
      },
      cut: () => server.closeAllConnections(),
    };
  }

  #makeServer({ limits, keepAliveSeconds, maxConnections }: ListenSettings, connections: Connections): Server {
    const keepAliveTimeout = keepAliveSeconds * 1000;
    const server = createServer({
      highWaterMark: socketBufferBytes,
      keepAliveTimeout,
      headersTimeout: keepAliveTimeout + checkHeadersMs, // with a shorter timeout Node has closed idle connections too early
      connectionsCheckingInterval: checkHeadersMs,
      requestTimeout: 0, // the app itself limits silence, and the whole time of an upload
      requireHostHeader: false, // `refuseHostless` requires it, with an error that clients can read
    });
    connections.watch(server, maxConnections);
    server.setTimeout(limits.maxIdleSeconds * 1000);
    const onRequest = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
      joinSmallChunks(incoming);
      connections.queueRequest(incoming, outgoing);
    };
    server.on("request", onRequest).on("checkExpectation", onRequest);
    server.on("checkContinue", (incoming: IncomingMessage, outgoing: ServerResponse) => {
      this.#awaitingContinue.add(incoming);
      onRequest(incoming, outgoing);
    });
    return server;
  }
}

/**
 * Counts the bytes of an answer's body, as they are handed over to the connection, and frees the chunks that are sent.
 */
function watchWrites(outgoing: ServerResponse): () => number {
  let bytes = 0;
  let isEnding = false;
  const [write, end] = [outgoing.write.bind(outgoing), outgoing.end.bind(outgoing)];
  const count = (chunk: unknown): void => {
    if (typeof chunk === "string") bytes += Buffer.byteLength(chunk);
    else if (chunk instanceof Uint8Array) bytes += chunk.length;
  };
  outgoing.write = (...args: unknown[]) => {
    const [chunk] = args;
    if (!isEnding) count(chunk);
    // Only Node is known to call back after the system has taken the bytes.
    if (isNode() && args.length === 1 && chunk instanceof Uint8Array) {
      args.push((error: unknown) => (error ? undefined : freeChunk(chunk)));
    }
    return Reflect.apply(write, outgoing, args) as boolean;
  };
  outgoing.end = (...args: unknown[]) => {
    count(args[0]);
    isEnding = true; // some runtimes write the last chunk by `write`
    return Reflect.apply(end, outgoing, args) as typeof outgoing;
  };
  return () => bytes;
}

function requestListener(
  fetch: Hono["fetch"],
  report: Report,
): (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void> {
  const answer = getRequestListener(fetch, {
    hostname: "localhost", // for a request of HTTP/1.0 without a host
    autoCleanupIncoming: false, // `discardRest` does that
    errorHandler: (error) => {
      if (!(error instanceof RequestError)) throw error; // the app answers its own errors
      const refusal = new StowageError("INPUT_INVALID", `Cannot read the request: ${error.message}`);
      report({ event: "unread", status: 400, code: refusal.code, message: refusal.message });
      return errorResponse(refusal);
    },
  });
  return async (incoming, outgoing) => {
    outgoing.on("timeout", closeIfUnread);
    if (!(await refuseHostless(incoming, outgoing, report))) await answer(incoming, outgoing);
  };
}

/** Reports that Node has closed a new connection without an answer, because all connections are busy. */
function reportDrops(server: Server, report: Report): void {
  let lastMs = -Infinity;
  server.on("drop", () => {
    if (performance.now() - lastMs < dropLogMs) return;
    lastMs = performance.now();
    const most = `${server.maxConnections}, as many as STOWAGE_MAX_CONNECTIONS allows`;
    report(notice("warn", `closed a new connection: there are ${most}`));
  });
}

/**
 * Called when a socket was silent for a while in the middle of a request. If sent bytes wait in the socket, the client
 * does not read and is cut off. Otherwise the client waits for the service. (A silent body has its own limit in the
 * app, on every runtime.)
 */
function closeIfUnread(socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy();
}
