/** Bytes from and to web streams, for platforms that use them. */

/** Chunks whose reader may leave at any time, also before the first chunk. */
export interface ByteChunks extends AsyncIterableIterator<Uint8Array> {
  return(): Promise<IteratorReturnResult<undefined>>;
}

/** Reads a body chunk by chunk. A reader that leaves early cancels it. */
export function readableToBytes(body: ReadableStream<Uint8Array> | null): ByteChunks {
  if (body === null) return chunksOf(undefined, async () => undefined);
  const reader = body.getReader();
  return chunksOf(reader, async () => (await reader.read()).value);
}

/** Bytes that are asked for at once. Measured: more are no faster, and their garbage fills a Worker's memory. */
const readBytes = 64 * 1024;

/**
 * Reads a byte stream as `readableToBytes` does, but into memory of its own: without it workerd hands out 4 KiB at a time, and
 * is several times as slow. Chunks are kept by those who read them, so each chunk has its own memory. If a read fills less than
 * half of its memory, the bytes are copied and the memory is used again. Any other stream is read as it is.
 */
export function byteStreamToBytes(body: ReadableStream<Uint8Array> | null): ByteChunks {
  if (body === null) return readableToBytes(null);
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

/** Undefined if it is no byte stream. In Deno a short body that has arrived already is none. */
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
      await reader?.cancel().catch(() => undefined); // a failure to cancel helps no reader
      return { done: true, value: undefined };
    },
  };
  return chunks;
}

/** A stream that reads its source only as fast as it is read itself. Cancelling the stream closes the source. */
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
