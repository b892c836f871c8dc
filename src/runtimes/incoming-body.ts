/** Reads Node's incoming messages: their chunks, small ones joined. Throws away the bytes that nobody reads. */
import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { freeMemory } from "../streams/chunk-memory.ts";

/** A chunk of at least this size is passed on as it is. */
const largeBytes = 4096;

/**
 * The largest number of bytes that are thrown away after an answer. If the rest of the body is shorter, the connection
 * stays open for more requests.
 */
const maxDiscardedBytes = 64 * 1024 * 1024;
const maxDiscardMs = 5000;

/** If a client has sent nothing for this long after its answer, it has read the answer. */
export const lingerMs = 1000;

/**
 * Joins the small chunks of a body that arrive together. A waiting chunk takes about 300 bytes of memory besides its
 * own bytes, and Node counts only its own bytes. Chunks of one byte would fill 40 MiB instead of 128 KiB.
 */
export function joinSmallChunks(incoming: IncomingMessage): void {
  const push = incoming.push.bind(incoming);
  let small: Uint8Array[] = [];
  let smallBytes = 0;
  const flush = (): void => {
    if (small.length === 0) return;
    const joined = Buffer.concat(small, smallBytes);
    small = [];
    smallBytes = 0;
    push(joined);
  };
  incoming.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (!(chunk instanceof Uint8Array) || chunk.length >= largeBytes) {
      flush();
      return push(chunk, encoding);
    }
    if (small.length === 0) setImmediate(flush); // by then everything that has arrived is parsed
    small.push(chunk);
    smallBytes += chunk.length;
    return incoming.readableLength + smallBytes < incoming.readableHighWaterMark;
  };
}

interface Read {
  readonly resolve: (result: IteratorResult<Uint8Array, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The chunks of a body, each as it comes. Node's own iterator joins chunks that have come together, and takes twice the
 * time. A reader that leaves early does not destroy the message: the answer goes over the same connection.
 */
export class IncomingChunks implements AsyncIterator<Uint8Array, undefined> {
  readonly #incoming: IncomingMessage;
  /** The read that waits for a chunk. */
  #read: Read | undefined;
  /** Chunks for which no read waited. The message is paused until they are read. */
  readonly #early: Uint8Array[] = [];
  #isOver = false;
  #error: Error | undefined;

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming;
    if (incoming.destroyed || incoming.readableEnded) this.#onClose();
    else incoming.on("data", this.#onData).on("end", this.#onEnd).on("error", this.#onError).on("close", this.#onClose);
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const chunk = this.#early.shift();
    if (chunk !== undefined) return { done: false, value: chunk };
    if (this.#error !== undefined) throw this.#error;
    if (this.#isOver) return { done: true, value: undefined };
    if (this.#incoming.isPaused()) this.#incoming.resume();
    return new Promise((resolve, reject) => (this.#read = { resolve, reject }));
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    if (!this.#isOver) this.#incoming.pause(); // `discardRest` reads on
    this.#early.length = 0;
    this.#end();
    return { done: true, value: undefined };
  }

  readonly #onData = (chunk: Uint8Array): void => {
    const read = this.#read;
    this.#read = undefined;
    if (read !== undefined) {
      read.resolve({ done: false, value: chunk });
      return;
    }
    this.#early.push(chunk);
    this.#incoming.pause();
  };

  readonly #onEnd = (): void => this.#end();

  readonly #onError = (error: Error): void => this.#end(error);

  readonly #onClose = (): void => {
    const { readableEnded, errored } = this.#incoming;
    if (readableEnded) this.#end();
    else this.#end(errored ?? new Error("The connection has closed"));
  };

  #end(error?: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#incoming.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onClose);
    if (error === undefined) this.#read?.resolve({ done: true, value: undefined });
    else if (this.#read === undefined) this.#error = error;
    else this.#read.reject(error);
    this.#read = undefined;
  }
}

/**
 * Throws away the rest of a body after its answer. A connection that is closed at once is reset, and the client sees
 * "connection reset" instead of the answer. Most clients look for an answer while they send, and then stop.
 */
export function discardRest(incoming: IncomingMessage): void {
  incoming.resume();
  if (incoming.complete) return;
  const deadline = performance.now() + maxDiscardMs;
  let left = maxDiscardedBytes;
  const timer = setTimeout(() => incoming.socket.destroy(), lingerMs);
  incoming
    .on("data", (chunk: Uint8Array) => {
      left -= chunk.length;
      freeMemory(chunk); // a flood of refused uploads took 1 GB on Deno, and takes 100 MB
      if (left <= 0) incoming.pause();
      else if (performance.now() < deadline) timer.refresh();
    })
    .on("error", () => undefined) // the client has gone
    .on("close", () => clearTimeout(timer));
}

/**
 * Stops Node from throwing away an unread body after the answer, because Node does so without a limit. Node leaves a
 * body alone if anything was read from it. A read of 0 bytes is enough.
 */
export function keepUnread(incoming: IncomingMessage): void {
  incoming.read(0);
}
