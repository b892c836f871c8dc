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
