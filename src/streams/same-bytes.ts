/** Compares a stream with bytes that are in memory, without holding it too. */
import { Buffer } from "node:buffer";

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
