/** Converts between web streams and async iterables of bytes. */

/** Chunks of bytes. `return` may be called at any time, also before the first chunk. */
export interface ByteChunks extends AsyncIterableIterator<Uint8Array> {
  return(): Promise<IteratorReturnResult<undefined>>;
}

/** Reads a body chunk by chunk. If the reader leaves early, the body is cancelled. */
export function readableToBytes(body: ReadableStream<Uint8Array> | null): ByteChunks {
  if (body === null) return noBytes();
  const reader = body.getReader();
  return chunksOf(reader, async () => (await reader.read()).value);
}

/** A stream that has ended. */
export function noBytes(): ByteChunks {
  return chunksOf(undefined, async () => undefined);
}

/** Bytes that one read requests. Measured: larger reads are no faster, and their garbage fills a Worker's memory. */
const readBytes = 64 * 1024;

/**
 * Reads a byte stream as `readableToBytes` does, but gives each read the memory for its bytes. Otherwise workerd hands
 * out chunks of 4 KiB and is several times as slow. Each chunk has memory of its own, because readers keep chunks. If a
 * read fills less than half of its memory, the bytes are copied and the memory is used again. A stream that is not a
 * byte stream is read as it is.
 */
export function byteStreamToBytes(body: ReadableStream<Uint8Array> | null): ByteChunks {
  if (body === null) return noBytes();
  const reader = byobReaderOf(body);
  if (reader === undefined) return readableToBytes(body);
  let memory: ArrayBuffer | undefined;
  return chunksOf(reader, async () => {
    const { done, value } = await reader.read(new Uint8Array(memory ?? new ArrayBuffer(readBytes)));
    memory = undefined;
    if (done) return undefined;
    if (value.length > value.buffer.byteLength / 2) return value;
    memory = value.buffer;
    return value.slice();
  });
}

/** Undefined if the body is not a byte stream. In Deno, a short body that has already arrived is not a byte stream. */
function byobReaderOf(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function chunksOf(
  reader: { cancel(): Promise<void> } | undefined,
  read: () => Promise<Uint8Array | undefined>,
): ByteChunks {
  const chunks: ByteChunks = {
    [Symbol.asyncIterator]: () => chunks,
    async next() {
      const value = await read();
      return value === undefined ? { done: true, value } : { done: false, value };
    },
    async return() {
      await reader?.cancel().catch(() => undefined); // the reader has left and needs no error
      return { done: true, value: undefined };
    },
  };
  return chunks;
}

/**
 * A web stream that reads its source only as fast as the stream's own reader. Cancelling the stream closes the source.
 */
export function bytesToReadable(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await iterator.next();
        if (next.done === true) controller.close();
        else controller.enqueue(next.value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** A stream of bytes that are in memory. */
export async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
