/** Reads a stream of bytes by number: some bytes exactly, a look ahead, or the next bytes as a stream. */

const noBytes = new Uint8Array(0);
const end: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** Bytes that a reader can look at before it takes anything for them. */
export interface PeekableBytes extends AsyncIterable<Uint8Array, undefined> {
  /** The next `count` bytes, which stay unread. Fewer only at the end. */
  peek(count: number): Promise<Uint8Array>;
}

/** The next bytes of a `ByteReader`, as a stream. If it is left early, the rest stays unread. */
export interface ByteSection extends AsyncIterableIterator<Uint8Array, undefined> {
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

  /** The next `count` bytes, which stay unread. Fewer only at the end of the stream. */
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

  /**
   * The next `count` bytes as they come, or all. If fewer come, the section throws what `cutShort` makes of the number that is
   * missing. Without `cutShort` the section just ends.
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

  /** Passes over the next `count` bytes. */
  async skip(count: number, cutShort?: (missing: number) => Error): Promise<void> {
    for await (const _ of this.stream(count, cutShort));
  }

  /** Closes the source. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#source.return?.();
  }

  /** At most `count` bytes of those that are there. */
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
