/** Waits for the first chunk of a stream before anything is held for the rest of it. */
import { orAbort } from "./or-abort.ts";

/**
 * Resolves when the first chunk that is not empty has come, or the end. What it returns yields the whole stream, once; to leave it unread, call
 * its `return`. Rejects with what the source throws, or with the signal's reason.
 */
export async function afterFirstChunk(
  source: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<AsyncIterableIterator<Uint8Array>> {
  const chunks = source[Symbol.asyncIterator]();
  const leave = async (): Promise<void> => void (await chunks.return?.());
  let first: IteratorResult<Uint8Array, unknown> | undefined;
  try {
    do first = await orAbort(chunks.next(), signal);
    while (first.done !== true && first.value.length === 0);
  } catch (error) {
    leave().catch(() => undefined); // not awaited: a stalled generator answers `return` only once its source goes on
    throw error;
  }
  const whole: AsyncIterableIterator<Uint8Array, unknown> = {
    [Symbol.asyncIterator]: () => whole,
    // A hand-written iterator: every byte passes here.
    next() {
      if (first === undefined) return chunks.next();
      const result = Promise.resolve(first);
      first = undefined;
      return result;
    },
    async return() {
      first = { done: true, value: undefined };
      await leave();
      return { done: true, value: undefined };
    },
  };
  return whole;
}
