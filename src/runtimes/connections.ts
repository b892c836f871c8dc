/**
 * The connections of the service on Node: which request runs on each, which requests wait, and which connections are
 * idle.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../errors.ts";
import type { Report } from "../events.ts";
import { discardRest, keepUnread } from "./incoming-body.ts";

/** Requests that may wait on one connection. If a client sends more, its connection is closed. */
const maxWaiting = 100;
/** Bytes that the waiting requests of one connection take, as `bytesOf` counts them. */
const maxWaitingBytes = 128 * 1024;
/** Memory of a header besides its characters. */
const headerBytes = 64;

type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

interface WaitingRequest {
  readonly bytes: number;
  readonly begin: () => void;
}

/** A connection on which a request runs. */
interface BusyConnection {
  readonly current: ServerResponse;
  readonly waiting: WaitingRequest[];
}

/**
 * - One request at a time runs on a connection, also if the client sends several without waiting for answers (RFC 9112,
 *   section 9.3.2). Node would start all of them. If the connection closes, Node tells only the first request. The
 *   others would keep their files and their connections to the store.
 * - When `maxConnections` are open and a new client comes, the connection that has been idle longest is closed.
 * - When the service stops, idle connections are closed. Node does not close connections that never sent a request, or
 *   whose last answer ends after the stop.
 */
export class Connections {
  readonly #answer: Answer;
  readonly #report: Report;
  readonly #busy = new WeakMap<Duplex, BusyConnection>();
  /** In the order in which they became idle. */
  readonly #idle = new Set<Duplex>();
  #isStopping = false;

  constructor(answer: Answer, report: Report) {
    this.#answer = answer;
    this.#report = report;
  }

  watch(server: Server, maxConnections: number): void {
    let open = 0;
    server.maxConnections = maxConnections;
    server.on("connection", (socket) => {
      open++;
      socket.once("close", () => {
        open--;
        this.#idle.delete(socket);
      });
      if (open > maxConnections) {
        socket.destroy(); // Node counts only the connections of its own listener
        server.emit("drop");
        return;
      }
      const [oldest] = this.#idle;
      if (open >= maxConnections) oldest?.destroy();
      this.#idle.add(socket);
    });
  }

  /**
   * Answers a request after the earlier requests of its connection. If the connection closes first, the request is
   * dropped.
   */
  queueRequest(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { socket } = incoming;
    const waiting = this.#busy.get(socket)?.waiting;
    if (socket.destroyed) return;
    if (waiting === undefined) {
      this.#begin(incoming, outgoing, []);
      return;
    }
    waiting.push({ bytes: bytesOf(incoming), begin: () => this.#begin(incoming, outgoing, waiting) });
    const bytes = waiting.reduce((sum, request) => sum + request.bytes, 0);
    if (waiting.length <= maxWaiting && bytes <= maxWaitingBytes) return;
    const found = `${waiting.length} requests of ${bytes} bytes`;
    const allowed = `${maxWaiting} requests and ${maxWaitingBytes} bytes`;
    this.#tell(`closed a connection on which ${found} wait for the answer to one before them, ${allowed} are allowed`);
    socket.destroy();
  }

  /** The answer that is sent next on the connection. Undefined for an idle connection. */
  currentAnswer(socket: Duplex): ServerResponse | undefined {
    return this.#busy.get(socket)?.current;
  }

  stop(): void {
    this.#isStopping = true;
    for (const socket of this.#idle) socket.destroy();
  }

  #begin(incoming: IncomingMessage, outgoing: ServerResponse, waiting: WaitingRequest[]): void {
    const { socket } = incoming;
    this.#busy.set(socket, { current: outgoing, waiting });
    this.#idle.delete(socket);
    // The answer is sent, or the connection has closed.
    outgoing.once("close", () => {
      this.#busy.delete(socket);
      if (socket.destroyed) return;
      discardRest(incoming);
      const next = waiting.shift();
      if (next === undefined) this.#becomeIdle(incoming);
      else next.begin();
    });
    if (hasUselessBody(incoming)) discardRest(incoming);
    else keepUnread(incoming);
    this.#answer(incoming, outgoing).catch((error: unknown) => {
      this.#tell(`cannot answer a request: ${messageOf(error)}`);
      socket.destroy();
    });
  }

  #tell(message: string): void {
    this.#report({ event: "unread", status: undefined, code: undefined, message });
  }

  #becomeIdle(incoming: IncomingMessage): void {
    const { socket, complete } = incoming;
    const end = (): void => void socket.end(() => socket.destroy());
    if (!this.#isStopping) this.#idle.add(socket);
    else if (complete) end();
    else incoming.once("end", end); // a client that still sends reads its answer first
  }
}

/** Methods of routes that read a body. */
const methodsWithBody: ReadonlySet<string | undefined> = new Set(["PATCH", "POST", "PUT"]);

/**
 * Has the request a body that no route reads? Such a body would keep up to 128 KiB in memory until a slow client has
 * read its answer.
 */
function hasUselessBody({ method, headers }: IncomingMessage): boolean {
  if (methodsWithBody.has(method)) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** The memory of a waiting request: its path and its headers. */
function bytesOf({ url = "", rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((sum, text) => sum + text.length, url.length + (rawHeaders.length / 2) * headerBytes);
}
