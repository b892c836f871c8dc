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
