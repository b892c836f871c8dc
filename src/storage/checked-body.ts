/** The body of an object as a bucket sends it: every byte, or an error. */

export interface CheckedBodyOptions {
  readonly next: () => Promise<IteratorResult<Uint8Array, unknown>>;
  /** How many bytes the store announced. */
  readonly size: number;
  /** Ends the connection. */
  readonly close: () => Promise<unknown>;
  /** Throws, in the store's words, what went wrong. */
  readonly fail: (error: unknown) => never;
}

/**
 * Fails if the connection breaks or if fewer bytes come than were announced. A reader that leaves early, even before the
 * first byte, closes the connection: a generator that nobody has begun to read would not.
 */
export function checkedBody({ next, size, close, fail }: CheckedBodyOptions): AsyncIterable<Uint8Array> {
  let received = 0;
  const iterator: AsyncIterator<Uint8Array, undefined> = {
    async next() {
      try {
        const result = await next();
        if (result.done !== true) {
          received += result.value.length;
          return result;
        }
        if (received === size) return { done: true, value: undefined };
        throw new Error(`The body ended after ${received} bytes, expected ${size}`);
      } catch (error) {
        await close();
        return fail(error);
      }
    },
    async return() {
      await close();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
