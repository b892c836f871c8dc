/** Reads a stream of bytes: an exact number of bytes, a look ahead, or the next bytes as a stream. */

const noBytes = new Uint8Array(0);
const end: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Bytes that can be looked at before they are read. */
export interface PeekableBytes extends AsyncIterable<Uint8Array, undefined> {
  /** Looks at the next `count` bytes without reading them. Returns fewer bytes only at the end of the stream. */
  peek(count: number): Promise<Uint8Array>;
}

/** The next bytes of a `ByteReader`, as a stream. If its reader leaves early, the rest stays unread. */
interface ByteSection extends AsyncIterableIterator<Uint8Array, undefined> {
  peek(count: number): Promise<Uint8Array>;
}

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array, unknown>;
  #chunk: Uint8Array = noBytes;
  #received = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes that have come from the source. */
  get bytes(): number {
    return this.#received;
  }

  /** Bytes that have been read. */
  get position(): number {
    return this.#received - this.#chunk.length;
  }

  /** Looks at the next `count` bytes without reading them. Returns fewer bytes only at the end of the stream. */
  async peek(count: number): Promise<Uint8Array> {
    while (this.#chunk.length < count && (await this.#pull()));
    return this.#chunk.subarray(0, count);
  }

  /**
   * Reads the next `count` bytes into one array. Returns fewer bytes only at the end of the stream. Use it for small
   * counts: the bytes are copied.
   */
  async read(count: number): Promise<Uint8Array> {
    const bytes = await this.peek(count);
    this.#chunk = this.#chunk.subarray(bytes.length);
    return bytes;
  }

  /**
   * The next `count` bytes as a stream, or all bytes without `count`. If the source ends before them, the stream throws
   * the error that `cutShort` makes from the number of missing bytes. Without `cutShort` the stream just ends.
   */
  stream(count = Number.POSITIVE_INFINITY, cutShort?: (missing: number) => Error): ByteSection {
    let left = count;
    // A hand-written iterator: every byte of a load passes here, and a generator costs more.
    const section: ByteSection = {
      [Symbol.asyncIterator]: () => section,
      peek: async (wanted) => this.peek(Math.min(wanted, left)),
      next: async () => {
        if (left > 0 && (this.#chunk.length > 0 || (await this.#pull()))) {
          const value = this.#take(left);
          left -= value.length;
          return { done: false, value };
        }
        if (left > 0 && cutShort !== undefined) throw cutShort(left);
        return end;
      },
      return: async () => {
        left = 0;
        return end;
      },
    };
    return section;
  }

  /** Skips the next `count` bytes. */
  async skip(count: number, cutShort?: (missing: number) => Error): Promise<void> {
    for await (const _ of this.stream(count, cutShort));
  }

  /** Closes the source. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#source.return?.();
  }

  /** At most `count` bytes of the chunk in memory. */
  #take(count: number): Uint8Array {
    const taken = this.#chunk.subarray(0, count);
    this.#chunk = this.#chunk.subarray(taken.length);
    return taken;
  }

  async #pull(): Promise<boolean> {
    if (this.#ended) return false;
    const next: IteratorResult<Uint8Array, unknown> = await this.#source.next();
    if (next.done === true) {
      this.#ended = true;
      return false;
    }
    this.#received += next.value.length;
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
