/**
 * Of the requests that a client sends on one connection without waiting for answers (RFC 9112, section 9.3.2), one runs at a
 * time. Node starts all of them at once, and tells only the first one that the connection has closed: the others would keep
 * what they have opened, such as files and connections to the store.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../errors.ts";
import { keepUnread, readOn } from "./read-on.ts";

/** Requests that wait on one connection. Each takes some 3 KB. The connection of a client that sends more is closed. */
const maxWaiting = 100;

type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;

interface Turns {
  readonly current: ServerResponse;
  readonly waiting: (() => void)[];
}

export class RequestTurns {
  readonly #answer: Answer;
  readonly #log: (line: string) => void;
  readonly #turns = new WeakMap<Duplex, Turns>();

  constructor(answer: Answer, log: (line: string) => void) {
    this.#answer = answer;
    this.#log = log;
  }

  /** Answers the request once those before it on its connection are answered, and never if the connection closes first. */
  take(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { socket } = incoming;
    const waiting = this.#turns.get(socket)?.waiting;
    const begin = (): void => this.#begin(incoming, outgoing, waiting ?? []);
    if (socket.destroyed) return;
    if (waiting === undefined) begin();
    else if (waiting.length < maxWaiting) waiting.push(begin);
    else {
      this.#log(`closed a connection on which more than ${maxWaiting} requests wait for the answer to one before them`);
      socket.destroy();
    }
  }

  /** The answer that the connection waits for. */
  current(socket: Duplex): ServerResponse | undefined {
    return this.#turns.get(socket)?.current;
  }

  #begin(incoming: IncomingMessage, outgoing: ServerResponse, waiting: (() => void)[]): void {
    const { socket } = incoming;
    this.#turns.set(socket, { current: outgoing, waiting });
    // It has been sent, or its connection has closed.
    outgoing.once("close", () => {
      this.#turns.delete(socket);
      if (socket.destroyed) return;
      readOn(incoming);
      const next = waiting.shift();
      next?.();
    });
    keepUnread(incoming);
    this.#answer(incoming, outgoing).catch((error: unknown) => {
      this.#log(`cannot answer a request: ${messageOf(error)}`);
      socket.destroy();
    });
  }
}
