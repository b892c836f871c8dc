/** Reads a whole stream of known length into memory. The caller has bounded `size`. */
import { Buffer } from "node:buffer";

export async function collectBytes(source: AsyncIterable<Uint8Array>, size: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(size); // what is not written to is not returned
  let length = 0;
  for await (const chunk of source) {
    if (length + chunk.length > size) throw new RangeError(`Cannot collect more than the expected ${size} bytes`);
    bytes.set(chunk, length);
    length += chunk.length;
  }
  return bytes.subarray(0, length);
}

// Compares a stream with bytes that are in memory, without holding it too.

/** Reads the stream to its end. */
export async function isSameAs(bytes: Uint8Array, source: AsyncIterable<Uint8Array>): Promise<boolean> {
  let isSame = true;
  let at = 0;
  for await (const chunk of source) {
    isSame &&= Buffer.compare(bytes.subarray(at, at + chunk.length), chunk) === 0;
    at += chunk.length;
  }
  return isSame && at === bytes.length;
}
