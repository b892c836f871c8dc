/**
 * Watches a stream of bytes: silence of its sender, the caller's signal, and checks of its reader.
 *
 * A hand-written iterator: every byte of a load passes here, and each async generator on its way costs time.
 */
import { Silence, type SilenceLimits } from "./silence.ts";

/** The watched events, besides silence. */
interface Watch {
  /** Ends the stream with the signal's reason as soon as the signal fires, also while the source stalls. */
  readonly signal?: AbortSignal | undefined;
  /** Called before a chunk is passed on. Its error ends the stream in place of the chunk. */
  readonly onChunk?: ((chunk: Uint8Array) => void) | undefined;
  /** Called at the end of the source. Its error ends the stream in place of the end. */
  readonly onEnd?: (() => void) | undefined;
  /** Returns the error to throw when the source fails, or when `onChunk` or `onEnd` throws. */
  readonly onFailure?: ((error: unknown) => unknown) | undefined;
}

type Result = IteratorResult<Uint8Array, undefined>;

interface Read {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The bytes of a source. One reader can read them, once. The first read opens the source. The source is closed when the
 * stream fails or the reader leaves. Nothing waits for the closing: a stalled generator answers `return` only when its
 * own source continues.
 */
export class WatchedSource implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #silence: Silence | undefined;
  #watch: Watch = {};
  #chunks: AsyncIterator<Uint8Array, unknown> | undefined;
  /** The result that `begin` has read. */
  #first: IteratorResult<Uint8Array, unknown> | undefined;
  /** The read that waits for the source. */
  #read: Read | undefined;
  #bytes = 0;
  #isOver = false;
  /** Why the stream has ended. The next read throws it. */
  #failure: { readonly error: unknown } | undefined;

  /** Without limits the source may be silent forever. */
  constructor(source: AsyncIterable<Uint8Array>, limits?: SilenceLimits) {
    this.#source = source;
    this.#silence = limits && new Silence(limits, (error) => this.#end({ error }));
  }

  /** Returns the source itself if it is a `WatchedSource`. */
  static of(source: AsyncIterable<Uint8Array>): WatchedSource {
    return source instanceof WatchedSource ? source : new WatchedSource(source);
  }

  /** Bytes that have been passed on. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Replaces the watched events. */
  watch(watch: Watch): this {
    this.#watch.signal?.removeEventListener("abort", this.#onAbort);
    this.#watch = watch;
    if (this.#chunks !== undefined && !this.#isOver) watch.signal?.addEventListener("abort", this.#onAbort);
    return this;
  }

  /** Resolves at the first chunk that is not empty, or at the end. The first read returns that chunk. */
  async begin(signal: AbortSignal): Promise<void> {
    this.watch({ signal });
    this.#first ??= await this.#firstChunk();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    return new Promise((resolve, reject) => {
      const first = this.#first;
      this.#first = undefined;
      if (this.#failure !== undefined) {
        reject(this.#failure.error);
        this.#failure = undefined;
      } else if (first !== undefined) this.#pass(first, { resolve, reject });
      else if (this.#isOver) resolve({ done: true, value: undefined });
      else this.#ask({ resolve, reject });
    });
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#first = undefined;
    this.#failure = undefined;
    this.#end();
    return { done: true, value: undefined };
  }

  async #firstChunk(): Promise<Result> {
    let first: Result;
    do first = await this.next();
    while (first.done !== true && first.value.length === 0);
    if (first.done !== true) this.#bytes -= first.value.length; // counted again when it is passed on
    return first;
  }

  readonly #onAbort = (): void => this.#end({ error: this.#watch.signal?.reason });

  #ask(read: Read): void {
    this.#read = read;
    const chunks = (this.#chunks ??= this.#open());
    if (this.#watch.signal?.aborted === true) {
      this.#onAbort();
      return;
    }
    this.#silence?.begin();
    chunks.next().then(
      (result) => {
        if (this.#read !== read) return; // the stream has ended meanwhile
        const tooSlow = this.#silence?.end(result.done === true ? undefined : result.value.length);
        if (tooSlow === undefined) this.#pass(result, read);
        else this.#end({ error: tooSlow });
      },
      (error: unknown) => {
        if (this.#read === read) this.#end({ error: this.#explained(error) });
      },
    );
  }

  #open(): AsyncIterator<Uint8Array, unknown> {
    this.#watch.signal?.addEventListener("abort", this.#onAbort);
    return this.#source[Symbol.asyncIterator]();
  }

  #pass(result: IteratorResult<Uint8Array, unknown>, read: Read): void {
    this.#read = read;
    try {
      if (result.done === true) {
        this.#watch.onEnd?.();
        this.#end();
      } else {
        this.#watch.onChunk?.(result.value);
        this.#bytes += result.value.length;
        this.#read = undefined;
        read.resolve(result);
      }
    } catch (error) {
      this.#end({ error: this.#explained(error) });
    }
  }

  #explained(error: unknown): unknown {
    const { onFailure } = this.#watch;
    return onFailure === undefined ? error : onFailure(error);
  }

  #end(failure?: { readonly error: unknown }): void {
    const read = this.#read;
    this.#read = undefined;
    if (!this.#isOver) {
      this.#isOver = true;
      this.#silence?.end();
      this.#watch.signal?.removeEventListener("abort", this.#onAbort);
      this.#chunks?.return?.().then(undefined, () => undefined);
      if (read === undefined) this.#failure = failure;
    }
    if (failure === undefined) read?.resolve({ done: true, value: undefined });
    else read?.reject(failure.error);
  }
}
