/** A stream that ends with the signal's reason as soon as the signal fires, also while its source stalls. */
export async function* abortable(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (signal === undefined) {
    yield* source;
    return;
  }
  let wake: () => void = () => undefined;
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      signal.throwIfAborted(); // it may have fired while the last chunk was worked on
      const next = await new Promise<IteratorResult<Uint8Array, unknown>>((resolve, reject) => {
        wake = () => reject(signal.reason as Error);
        iterator.next().then(resolve, reject);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: a stalled generator answers `return` only once its source goes on.
    iterator.return?.().then(undefined, () => undefined);
  }
}

/** Waits for a promise, but no longer than until the signal fires: then it rejects with the signal's reason. */
export async function orAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  promise.catch(() => undefined); // it may fail when nobody waits for it any more
  signal.throwIfAborted();
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => (onAbort = () => reject(signal.reason as Error)));
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

// Waits for the first chunk of a stream before anything is held for the rest of it.

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
