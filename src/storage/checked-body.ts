/** The body of an object as a store reads it: every byte, or an error. */

export interface CheckedBodyOptions {
  readonly next: () => Promise<IteratorResult<Uint8Array, unknown>>;
  /** How many bytes the store announced. */
  readonly size: number;
  /** Closes the connection or the file. */
  readonly close: () => Promise<unknown>;
  /** Throws, in the store's words, what went wrong. */
  readonly fail: (error: unknown) => never;
}

/**
 * Fails if reading fails or ends early. A reader that leaves closes the connection or the file, also before its first read: a
 * generator would not do that.
 */
export function checkedBody({ next, size, close, fail }: CheckedBodyOptions): AsyncIterable<Uint8Array> {
  let received = 0;
  let isLeft = false;
  const iterator: AsyncIterator<Uint8Array, undefined> = {
    async next() {
      if (isLeft) return { done: true, value: undefined };
      try {
        const result = await next();
        if (result.done !== true) {
          received += result.value.length;
          return result;
        }
        if (received === size) return { done: true, value: undefined };
        throw new Error(`The body ended after ${received} bytes, expected ${size}`);
      } catch (error) {
        await close().catch(() => undefined); // why reading failed says more
        return fail(error);
      }
    },
    async return() {
      isLeft = true;
      await close();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
