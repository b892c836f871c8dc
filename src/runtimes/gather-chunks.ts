/**
 * Joins the small chunks of a request's body that arrive together. A chunk that waits to be read takes some 300 bytes beside
 * its own, and Node counts only its own: a client that sends chunks of one byte would fill 80 MiB in place of 256 KiB.
 */
import { Buffer } from "node:buffer";
import type { IncomingMessage } from "node:http";

/** A chunk of this many bytes is passed on as it is. */
const largeBytes = 4096;

export function gatherChunks(incoming: IncomingMessage): void {
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
    if (small.length === 0) setImmediate(flush); // once all that has arrived is parsed
    small.push(chunk);
    smallBytes += chunk.length;
    return incoming.readableLength + smallBytes < incoming.readableHighWaterMark;
  };
}
