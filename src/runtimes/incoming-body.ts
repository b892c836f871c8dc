/** Reads Node's incoming messages: joins small chunks, and throws away the bytes that nobody reads. */
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
