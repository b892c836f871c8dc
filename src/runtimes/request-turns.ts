/**
 * Of the requests that a client sends on one connection without waiting for answers (RFC 9112, section 9.3.2), one runs at a
 * time. Node starts all of them at once, and tells only the first one that the connection has closed: the others would keep
 * what they have opened, such as files and connections to the store.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../errors.ts";
import type { IdleConnections } from "./idle-connections.ts";

/** Requests that wait on one connection. The connection of a client that sends more is closed. */
const maxWaiting = 100;
/** Bytes that the waiting requests of one connection take, as `bytesOf` counts them. */
const maxWaitingBytes = 128 * 1024;
/** What a header takes beside its characters. */
const headerBytes = 64;

type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

export interface RequestTurnsOptions {
  readonly idle: IdleConnections;
  readonly log: (line: string) => void;
}

interface Waiting {
  readonly bytes: number;
  readonly begin: () => void;
}

interface Turns {
  readonly current: ServerResponse;
  readonly waiting: Waiting[];
}

export class RequestTurns {
  readonly #answer: Answer;
  readonly #idle: IdleConnections;
  readonly #log: (line: string) => void;
  readonly #turns = new WeakMap<Duplex, Turns>();

  constructor(answer: Answer, { idle, log }: RequestTurnsOptions) {
    this.#answer = answer;
    this.#idle = idle;
    this.#log = log;
  }

  /** Answers the request once those before it on its connection are answered, and never if the connection closes first. */
  take(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { socket } = incoming;
    const waiting = this.#turns.get(socket)?.waiting;
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
    this.#log(`closed a connection on which ${found} wait for the answer to one before them, ${allowed} are allowed`);
    socket.destroy();
  }

  /** The answer that the connection waits for. */
  current(socket: Duplex): ServerResponse | undefined {
    return this.#turns.get(socket)?.current;
  }

  #begin(incoming: IncomingMessage, outgoing: ServerResponse, waiting: Waiting[]): void {
    const { socket } = incoming;
    this.#turns.set(socket, { current: outgoing, waiting });
    this.#idle.leave(socket);
    // It has been sent, or its connection has closed.
    outgoing.once("close", () => {
      this.#turns.delete(socket);
      if (socket.destroyed) return;
      readOn(incoming);
      const next = waiting.shift();
      if (next === undefined) this.#idle.enter(incoming);
      else next.begin();
    });
    if (hasUselessBody(incoming)) readOn(incoming);
    else keepUnread(incoming);
    this.#answer(incoming, outgoing).catch((error: unknown) => {
      this.#log(`cannot answer a request: ${messageOf(error)}`);
      socket.destroy();
    });
  }
}

/** Methods of requests whose body somebody reads. */
const methodsWithBody: ReadonlySet<string | undefined> = new Set(["PATCH", "POST", "PUT"]);

/** Up to 256 KiB of it would be in memory until the request is answered, also if the client reads its answer slowly. */
function hasUselessBody({ method, headers }: IncomingMessage): boolean {
  if (methodsWithBody.has(method)) return false;
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** What a request takes while it waits: its path, and its headers, which may be very many. */
function bytesOf({ url = "", rawHeaders }: IncomingMessage): number {
  return rawHeaders.reduce((sum, text) => sum + text.length, url.length + (rawHeaders.length / 2) * headerBytes);
}

// Reads what a client still sends after it has been answered. Closing the connection at once would reset it, and the client
// would find "connection reset" in place of the answer. Most clients look for an answer while they send, and then stop.

/** What is read and thrown away. After a shorter rest of a body the connection stays open for further requests. */
const maxBytes = 64 * 1024 * 1024;
const maxMs = 5000;

/** A client that has sent nothing for this long has its answer. */
export const lingerMs = 1000;

export function readOn(incoming: IncomingMessage): void {
  incoming.resume();
  if (incoming.complete) return;
  const deadline = performance.now() + maxMs;
  let left = maxBytes;
  const timer = setTimeout(() => incoming.socket.destroy(), lingerMs);
  incoming
    .on("data", (chunk: Uint8Array) => {
      left -= chunk.length;
      if (left <= 0) incoming.pause();
      else if (performance.now() < deadline) timer.refresh();
    })
    .on("error", () => undefined) // the client has gone
    .on("close", () => clearTimeout(timer));
}

/**
 * Node throws away, without any limit, the rest of a body from which nothing was read. So this reads, no bytes, to say that
 * somebody else takes care of it.
 */
export function keepUnread(incoming: IncomingMessage): void {
  incoming.read(0);
}
