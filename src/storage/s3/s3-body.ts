/** The body of an object that S3 sends: its every byte, or an error. */
import { byteStreamToBytes } from "../../streams/readable-stream.ts";
import { type S3Call, storeUnavailable } from "./s3-errors.ts";

export interface S3BodyOptions {
  readonly call: S3Call;
  /** How many bytes the store announced. */
  readonly size: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Reads what the SDK hands out. Ends with `STORE_UNAVAILABLE` if the connection breaks or fewer bytes come than were
 * announced, and with the signal's reason if that is why. Whoever leaves early, even before the first byte, closes the
 * connection.
 */
export function readS3Body(body: unknown, { call, size, signal }: S3BodyOptions): AsyncIterable<Uint8Array> {
  if (!isByteStream(body)) throw storeUnavailable(new TypeError("The SDK returned no stream"), call);
  const chunks = body instanceof ReadableStream ? byteStreamToBytes(body) : body[Symbol.asyncIterator]();
  let received = 0;
  const iterator: AsyncIterator<Uint8Array, undefined> = {
    async next() {
      try {
        signal?.throwIfAborted();
        const next = await chunks.next();
        if (next.done !== true) {
          received += next.value.length;
          return next;
        }
        if (received === size) return { done: true, value: undefined };
        throw new Error(`The body ended after ${received} bytes, expected ${size}`);
      } catch (error) {
        body.destroy?.();
        signal?.throwIfAborted();
        throw storeUnavailable(error, call);
      }
    },
    async return() {
      body.destroy?.(); // a stream that nobody has begun to read does not close by its iterator alone
      await chunks.return?.();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

/** Closes a body that nobody will read, and so its connection. */
export async function discardS3Body(body: unknown): Promise<void> {
  if (!isByteStream(body)) return;
  body.destroy?.();
  await body[Symbol.asyncIterator]().return?.();
}

/** A stream of Node's, or a web stream where `fetch` is at work, which ends by its iterator. */
interface ByteStream extends AsyncIterable<Uint8Array> {
  destroy?(): void;
}

function isByteStream(body: unknown): body is ByteStream {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}
