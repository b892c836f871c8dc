/** Collects streams in memory, and compares streams with bytes in memory. */
import { Buffer } from "node:buffer";
import { freeChunk } from "./chunk-memory.ts";

/**
 * Reads a stream of up to `size` bytes into memory. The caller must have limited `size`. Throws if the stream is
 * longer.
 */
export async function collectBytes(source: AsyncIterable<Uint8Array>, size: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(size); // unwritten memory is not returned
  let length = 0;
  for await (const chunk of source) {
    if (length + chunk.length > size) throw new RangeError(`Cannot collect more than the expected ${size} bytes`);
    bytes.set(chunk, length);
    length += chunk.length;
    freeChunk(chunk);
  }
  return bytes.subarray(0, length);
}

/** Compares a stream with bytes in memory, chunk by chunk. Reads the stream to its end. */
export async function isSameAs(bytes: Uint8Array, source: AsyncIterable<Uint8Array>): Promise<boolean> {
  let isSame = true;
  let at = 0;
  for await (const chunk of source) {
    isSame &&= Buffer.compare(bytes.subarray(at, at + chunk.length), chunk) === 0;
    at += chunk.length;
  }
  return isSame && at === bytes.length;
}
