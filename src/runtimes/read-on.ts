/**
 * Reads what a client still sends after it has been answered. Closing the connection at once would reset it, and the client
 * would find "connection reset" in place of the answer. Most clients look for an answer while they send, and then stop.
 */
import type { IncomingMessage } from "node:http";

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
