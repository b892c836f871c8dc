/** Sends a stream of bytes through a transform of `node:stream`, such as those of `node:zlib`. */
import { type Transform, pipeline } from "node:stream";

/**
 * Yields what comes out of the transform; whoever leaves early ends both. What the source throws is thrown as it is; of what
 * the transform throws `explain` makes an error: platforms agree neither on its class nor on its code.
 */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  explain: (error: unknown) => Error,
): AsyncGenerator<Uint8Array> {
  let sourceFailure: { readonly error: unknown } | undefined;
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      sourceFailure = { error };
      throw error;
    }
  }
  let failure: unknown;
  pipeline(watched(), transform, (error) => (failure = error));
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } catch (error) {
    throw sourceFailure === undefined ? explain(failure ?? error) : sourceFailure.error;
  }
}
