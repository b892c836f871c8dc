/** Sends a stream of bytes through a transform of `node:stream`, such as those of `node:zlib`. */
import { type Transform, pipeline } from "node:stream";
import { WatchedSource } from "./watched-source.ts";

/**
 * Yields the output of the transform. If the reader leaves early, source and transform are closed. An error of the
 * source is thrown unchanged. An error of the transform differs between platforms in its class and code, so `explain`
 * replaces it.
 */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  explain: (error: unknown) => Error,
): AsyncGenerator<Uint8Array> {
  let sourceFailure: { readonly error: unknown } | undefined;
  const noteFailure = (error: unknown): unknown => {
    sourceFailure = { error };
    return error;
  };
  let failure: unknown;
  pipeline(new WatchedSource(source).watch({ onFailure: noteFailure }), transform, (error) => (failure = error));
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } catch (error) {
    throw sourceFailure === undefined ? explain(failure ?? error) : sourceFailure.error;
  }
}
