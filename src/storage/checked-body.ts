/** The body of a stored object: every byte, or an error. */

interface UncheckedBody {
  readonly next: () => Promise<IteratorResult<Uint8Array, unknown>>;
  /** The number of bytes that the store announced. */
  readonly size: number;
  /** Closes the connection or the file. */
  readonly close: () => Promise<unknown>;
  /** Throws the store's own error for a failed read. */
  readonly fail: (error: unknown) => never;
}

/**
 * Fails if a read fails, or if the body ends early. A reader that leaves closes the connection or the file, even before
 * its first read. (A generator that was never read would not close them.)
 */
export function checkedBody({ next, size, close, fail }: UncheckedBody): AsyncIterable<Uint8Array> {
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
        await close().catch(() => undefined); // the error of the read says more
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
