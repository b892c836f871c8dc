/** Reads a whole stream of known length into memory. The caller has bounded `size`. */
export async function collectBytes(source: AsyncIterable<Uint8Array>, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let length = 0;
  for await (const chunk of source) {
    if (length + chunk.length > size) throw new RangeError(`Cannot collect more than the expected ${size} bytes`);
    bytes.set(chunk, length);
    length += chunk.length;
  }
  return bytes.subarray(0, length);
}
