/**
 * Frees the memory of chunks of a client or of S3 as soon as they are read or sent. V8 frees it only at its next
 * collection, and each 30 MiB of chunks make V8 mark its whole heap. Memory that is freed at once is also used again
 * while it is in the CPU's cache. Measured, on Node 20 and 24: a push into S3 takes a quarter less CPU time, a pull of
 * a large blob half of it.
 *
 * Only a source that keeps nothing of its chunks may hand them over. Chunks of all other sources stay as they are.
 */

const isHandedOver = Symbol("isHandedOver");

interface ChunkMemory extends ArrayBuffer {
  [isHandedOver]?: true;
  /** On all runtimes except Node 20. */
  transfer?(bytes: number): ArrayBuffer;
}

/** Passes on the chunks of a source that does not use them again. */
export function handOver(chunks: AsyncIterator<Uint8Array, undefined>): AsyncIterator<Uint8Array, undefined> {
  return {
    async next() {
      const result = await chunks.next();
      if (result.done !== true) handOverChunk(result.value);
      return result;
    },
    return: async () => chunks.return?.() ?? { done: true, value: undefined },
  };
}

/** Marks a chunk that its source does not use again. */
export function handOverChunk({ buffer }: Uint8Array): void {
  (buffer as ChunkMemory)[isHandedOver] = true;
}

/** Frees a chunk that its reader has copied or does not need. Does nothing unless the chunk was handed over, whole. */
export function freeChunk(chunk: Uint8Array): void {
  if ((chunk.buffer as ChunkMemory)[isHandedOver] === true) freeMemory(chunk);
}

/** Frees the memory of a chunk that nobody else uses. Does nothing if something else lies in the same memory. */
export function freeMemory({ buffer, length }: Uint8Array): void {
  const memory = buffer as ChunkMemory;
  if (length !== memory.byteLength || length === 0) return;
  if (memory.transfer === undefined) closedPort?.postMessage(undefined, [memory]);
  else memory.transfer(0);
}

/** For Node 20, which has no `transfer`: a closed port takes the memory of a message and drops it. */
const closedPort = "transfer" in ArrayBuffer.prototype ? undefined : openAndClose();

function openAndClose(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.close();
  port2.close();
  return port1;
}
