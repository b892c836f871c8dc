/**
 * Lets a connection to S3 read up to 1 MiB at once. Node reads 64 KiB at once by default, and each read costs two
 * buffers and a dozen calls. Measured: a blob of 400 MiB takes a third of the CPU time with reads of 1 MiB.
 */
import { Buffer } from "node:buffer";
import type { OnReadOpts, Socket } from "node:net";
import process from "node:process";
import { isNode } from "../../is-node.ts";
import { freeMemory } from "../../streams/chunk-memory.ts";
import { usualChunkBytes } from "../object-store.ts";

/** The largest read. Measured: larger reads are no faster. */
const maxReadBytes = 1024 * 1024;

const chunkBytesKey = Symbol("chunkBytes");

interface SizedSocket extends Socket {
  [chunkBytesKey]?: (() => number) | undefined;
}

/** An incoming message of Node. */
interface Message {
  readonly socket: SizedSocket;
  once(event: "close", act: () => void): unknown;
}

/**
 * Options for an agent of Node. All its sockets read into the same memory: libuv fills it and Node's HTTP parser copies
 * the bytes of a body out of it before another socket reads. The first larger read allocates memory for all larger
 * reads. No options where reads do not work in this way: on Bun, Deno and Windows.
 */
export function largeReads(): { readonly onread?: OnReadOpts } {
  if (!isNode() || process.platform === "win32") return {};
  let memory: Buffer = Buffer.allocUnsafeSlow(usualChunkBytes);
  let nextBytes = usualChunkBytes;
  return {
    onread: {
      /** Called for each new socket, and after each `callback` for the same socket. */
      buffer() {
        if (nextBytes > memory.length) memory = allocate();
        const next = memory.subarray(0, nextBytes);
        nextBytes = usualChunkBytes;
        return next;
      },
      callback(this: SizedSocket, count, bytes) {
        this.emit("data", bytes.subarray(0, count));
        nextBytes = Math.min(this[chunkBytesKey]?.() ?? usualChunkBytes, maxReadBytes);
        return true;
      },
    },
  };
}

/**
 * The memory that all sockets read into. A larger block is freed before: glibc then keeps freed memory of up to twice
 * its size for the next chunks. Otherwise it returns each large chunk to the system, and the next chunk gets fresh
 * pages.
 */
function allocate(): Buffer {
  freeMemory(Buffer.allocUnsafeSlow(4 * maxReadBytes));
  return Buffer.allocUnsafeSlow(maxReadBytes);
}

/** Asks for the size of each further read of this body. Does nothing if the body is not a message of Node. */
export function sizeReads(body: object, chunkBytes: (() => number) | undefined): void {
  if (chunkBytes === undefined || !("socket" in body) || !("once" in body)) return;
  const message = body as Message;
  const { socket } = message;
  socket[chunkBytesKey] = chunkBytes;
  message.once("close", () => delete socket[chunkBytesKey]);
}
