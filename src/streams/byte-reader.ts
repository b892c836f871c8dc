/** Reads a stream of bytes by number: some bytes exactly, a look ahead, or the next so many as a stream. */

const noBytes = new Uint8Array(0);

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = noBytes;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next `count` bytes, which stay unread; fewer only at the end of the stream. */
  async peek(count: number): Promise<Uint8Array> {
    while (this.#chunk.length < count && (await this.#pull()));
    return this.#chunk.subarray(0, count);
  }

  /** The next `count` bytes; fewer only at the end of the stream. Meant for small counts: they are joined. */
  async read(count: number): Promise<Uint8Array> {
    const bytes = await this.peek(count);
    this.#chunk = this.#chunk.subarray(bytes.length);
    return bytes;
  }

  /** The next `count` bytes as they come; fewer only at the end of the stream. */
  async *stream(count: number): AsyncGenerator<Uint8Array> {
    let left = count;
    while (left > 0 && (this.#chunk.length > 0 || (await this.#pull()))) {
      const chunk = this.#chunk.subarray(0, left);
      this.#chunk = this.#chunk.subarray(chunk.length);
      left -= chunk.length;
      yield chunk;
    }
  }

  /** All that is left. It ends with the source, and lets go of it when it is left early. */
  async *rest(): AsyncGenerator<Uint8Array> {
    try {
      while (this.#chunk.length > 0 || (await this.#pull())) {
        const chunk = this.#chunk;
        this.#chunk = noBytes;
        yield chunk;
      }
    } finally {
      await this.close();
    }
  }

  /** Lets go of the source. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#source.return?.();
  }

  async #pull(): Promise<boolean> {
    if (this.#ended) return false;
    const next: IteratorResult<Uint8Array, unknown> = await this.#source.next();
    if (next.done === true) {
      this.#ended = true;
      return false;
    }
    this.#chunk = this.#chunk.length === 0 ? next.value : join(this.#chunk, next.value);
    return true;
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
