/** Sends a stream of bytes through a transform of `node:stream`, such as those of `node:zlib`. */
import { type Transform, pipeline } from "node:stream";

/** Yields what comes out of the transform; an error of either side is thrown, and whoever leaves early ends both. */
export async function* through(source: AsyncIterable<Uint8Array>, transform: Transform): AsyncGenerator<Uint8Array> {
  let failure: unknown;
  pipeline(source, transform, (error) => (failure = error));
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } catch (error) {
    throw failure ?? error;
  }
}
