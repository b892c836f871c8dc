/**
 * Calls `work` for each item of a list or a stream. At most `limit` items are held at once, including the next item of
 * a stream. After an error of the source or of the work, waits for the work that still runs. Then throws the first
 * error.
 */
export async function concurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const waiting = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    try {
      for (let next = await waiting.next(); next.done !== true && failures.length === 0; next = await waiting.next()) {
        await work(next.value);
      }
    } catch (error) {
      failures.push(error);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  if (failures.length === 0) return;
  await waiting.return?.();
  throw failures[0];
}
