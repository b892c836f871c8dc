/** A stream that tells of each chunk once it has been taken, for whoever shows how far the work has come. */
export async function* watched(
  source: AsyncIterable<Uint8Array>,
  advance: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    yield chunk;
    advance(chunk.length);
  }
}
