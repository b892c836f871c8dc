/** A stream that ends with `TIMED_OUT` when its source falls silent: who says nothing must not hold memory for good. */
import { StowageError } from "../errors.ts";
import { startTimer } from "./start-timer.ts";

/**
 * Counts the time only while a chunk is awaited: a source that is not read, because the store is slow, is not silent. Opens
 * the source when the first chunk is asked for. Written out rather than as a generator: every byte passes here.
 */
export function untilSilent(source: AsyncIterable<Uint8Array>, maxIdleSeconds: number): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => watched(source[Symbol.asyncIterator](), maxIdleSeconds) };
}

function watched(chunks: AsyncIterator<Uint8Array>, maxIdleSeconds: number): AsyncIterator<Uint8Array> {
  return {
    next: async () =>
      new Promise((resolve, reject) => {
        const timer = startTimer(maxIdleSeconds, () => {
          reject(silent(maxIdleSeconds));
          // Not awaited: a stalled generator answers `return` only once its source goes on.
          chunks.return?.().then(undefined, () => undefined);
        });
        const settled = chunks.next();
        settled.then(resolve, reject).finally(() => timer.stop());
      }),
    return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
  };
}

function silent(maxIdleSeconds: number): StowageError {
  return new StowageError(
    "TIMED_OUT",
    `Cannot read on: the client sent nothing for ${maxIdleSeconds} seconds, which is the longest allowed (maxIdleSeconds)`,
    { detail: { limit: "maxIdleSeconds", expected: maxIdleSeconds } },
  );
}
