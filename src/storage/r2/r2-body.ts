/** The body of an object that R2 sends: its every byte, or an error. */
import { orAbort } from "../../streams/abortable.ts";
import { byteStreamToBytes } from "../../streams/readable-stream.ts";
import { type R2Call, r2Unavailable } from "./r2-errors.ts";

export interface R2BodyOptions {
  readonly call: R2Call;
  /** How many bytes are to come. */
  readonly size: number;
}

/**
 * Ends with `STORE_UNAVAILABLE` if fewer bytes come than were announced, and with the signal's reason. Whoever leaves
 * early, even before the first byte, cancels the body: it holds one of the six connections that a Worker has.
 */
export function readR2Body(body: ReadableStream<Uint8Array>, { call, size }: R2BodyOptions): AsyncIterable<Uint8Array> {
  const chunks = byteStreamToBytes(body);
  let received = 0;
  const iterator: AsyncIterator<Uint8Array, undefined> = {
    async next() {
      try {
        const next = await orAbort(chunks.next(), call.signal);
        if (next.done !== true) {
          received += next.value.length;
          return next;
        }
        if (received === size) return { done: true, value: undefined };
        throw new Error(`The body ended after ${received} bytes, expected ${size}`);
      } catch (error) {
        await chunks.return();
        call.signal?.throwIfAborted();
        throw r2Unavailable(error, call);
      }
    },
    async return() {
      await chunks.return();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
