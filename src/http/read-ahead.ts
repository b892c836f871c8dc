/**
 * Reads the rest of a large blob by several requests to the store at once, each for a part of the blob. A bucket takes
 * some 30 ms for an answer and sends some 80 MB a second on each connection, and most clients take more. Parts wait in
 * memory until the client reads them. The memory is held before a part is requested, so a part comes whole at the
 * store's speed, and its connection is free again.
 */
import type { ByteRange } from "../storage/object-store.ts";
import type { Release } from "../streams/line.ts";

/** Bytes of a part. At 80 MB a second, a part takes twice as long as a store's answer to begin. */
export const partBytes = 5 * 1024 * 1024;
const firstWidth = 2;
/** More parts at once are worth their requests if they bring more bytes in the same time by this factor. */
const minGain = 1.2;

/** A connection to the store, and the memory of one part. */
export interface PartHold {
  readonly connection: Release;
  readonly memory: Release;
}

interface ReadAheadOptions {
  /** What one connection brings. */
  readonly bytesPerMs: number;
  readonly start: number;
  /** The byte behind the last one. */
  readonly end: number;
  /** Parts that may be in memory at once. */
  readonly maxWidth: number;
  /** Does another request wait for memory? */
  readonly isCrowded: () => boolean;
  /** Undefined if no connection or too little memory is free. */
  readonly tryHold: (bytes: number) => PartHold | undefined;
  /** Opens a range of the blob. */
  readonly open: (range: ByteRange) => Promise<AsyncIterator<Uint8Array>>;
}

export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** In the order of their bytes. */
  readonly #parts: Part[] = [];
  /** The byte with which the next part starts. */
  #start: number;
  /** Parts to have in memory at once. It grows while that gains time, and shrinks while bytes wait for the client. */
  #width: number;
  /** The best pace until now. */
  #bytesPerMs: number;
  #isGrowing = true;
  /** The client has waited for a part. */
  #hasWaited = false;
  /**
   * Parts that the client has read since `#sinceMs`, when the width was changed. Begins at 1: the bytes before `start`,
   * which the first connection brings, count as one part.
   */
  #readParts = 1;
  #sinceMs = performance.now();

  constructor(options: ReadAheadOptions) {
    this.#options = options;
    this.#start = options.start;
    this.#bytesPerMs = options.bytesPerMs;
    this.#width = Math.min(firstWidth, options.maxWidth);
    this.#request();
  }

  /** The next bytes. Undefined if no part is there: all are read, or others need the connections and the memory. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#options.isCrowded()) this.#giveWay();
      else this.#request();
      const [front, ...others] = this.#parts;
      if (front === undefined) return undefined;
      this.#hasWaited ||= front.isEmpty;
      const chunk = await front.next();
      if (chunk !== undefined) return chunk;
      if (this.#parts.shift() === undefined) return undefined; // dropped meanwhile
      front.drop();
      this.#adapt(others.every(({ isComplete }) => isComplete));
    }
  }

  /** No further part is requested: several at once bring no more than one. */
  get isUseless(): boolean {
    return this.#width === 0;
  }

  /** Called after each part. */
  #adapt(isClientBehind: boolean): void {
    if (this.isUseless) return;
    if (!this.#hasWaited && isClientBehind) {
      this.#isGrowing = true;
      this.#bytesPerMs = 0;
      return this.#setWidth(Math.max(1, this.#width - 1));
    }
    if (!this.#isGrowing || !this.#hasWaited || ++this.#readParts < this.#width) return;
    const bytesPerMs = (this.#readParts * partBytes) / (performance.now() - this.#sinceMs);
    this.#isGrowing = bytesPerMs >= minGain * this.#bytesPerMs;
    this.#bytesPerMs = bytesPerMs;
    if (this.#isGrowing) this.#setWidth(Math.min(2 * this.#width, this.#options.maxWidth));
    else if (this.#width === firstWidth) this.#setWidth(0);
    this.#hasWaited = false;
  }

  #setWidth(width: number): void {
    this.#width = width;
    this.#readParts = 0;
    this.#sinceMs = performance.now();
  }

  /** Forgets all parts. */
  drop(): void {
    for (const part of this.#parts.splice(0)) part.drop();
    this.#start = this.#options.end;
  }

  /** Forgets all parts except the first. They are requested again later. */
  #giveWay(): void {
    const [next, ...others] = this.#parts.splice(1);
    if (next !== undefined) this.#start = next.start;
    next?.drop();
    for (const part of others) part.drop();
  }

  #request(): void {
    const { end, tryHold, open } = this.#options;
    while (this.#parts.length < this.#width && this.#start < end) {
      const bytes = Math.min(partBytes, end - this.#start);
      const hold = tryHold(bytes);
      if (hold === undefined) return;
      this.#parts.push(new Part({ start: this.#start, end: this.#start + bytes - 1 }, hold, open));
      this.#start += bytes;
    }
  }
}

/** One part on its way, or in memory. */
class Part {
  /** The store has sent all bytes. */
  isComplete = false;
  readonly start: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #hold: PartHold;
  #source: AsyncIterator<Uint8Array> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #isDropped = false;
  #wake = (): void => undefined;

  constructor(range: ByteRange, hold: PartHold, open: ReadAheadOptions["open"]) {
    this.start = range.start;
    this.#hold = hold;
    void this.#read(range, open);
  }

  get isEmpty(): boolean {
    return this.#chunks.length === 0;
  }

  /** Undefined at the end of the part. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.isEmpty && !this.isComplete && !this.#isDropped) {
      if (this.#failure !== undefined) throw this.#failure.error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#chunks.shift();
  }

  drop(): void {
    this.#isDropped = true;
    this.#chunks.length = 0;
    this.#hold.connection();
    this.#hold.memory();
    if (!this.isComplete) void this.#source?.return?.().then(undefined, () => undefined);
    this.#wake();
  }

  async #read({ start, end }: ByteRange, open: ReadAheadOptions["open"]): Promise<void> {
    let left = end - start + 1;
    try {
      this.#source = await open({ start, end });
      if (this.#isDropped) return void (await this.#source.return?.());
      for (let next = await this.#source.next(); next.done !== true; next = await this.#source.next()) {
        if (this.#isDropped) return;
        left -= next.value.length;
        if (left < 0) throw wrongLength(start, end, left);
        this.#chunks.push(next.value);
        this.#wake();
      }
      if (left > 0 && !this.#isDropped) throw wrongLength(start, end, left);
      this.isComplete = true;
    } catch (error) {
      this.#failure = { error };
      await this.#source?.return?.().then(undefined, () => undefined);
    } finally {
      this.#hold.connection();
      this.#wake();
    }
  }
}

function wrongLength(start: number, end: number, left: number): Error {
  const bytes = end - start + 1;
  return new Error(`Cannot read bytes ${start} to ${end}: found ${bytes - left} bytes or more, expected ${bytes}`);
}
