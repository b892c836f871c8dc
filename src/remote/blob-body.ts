/** The bytes of a registry's blob. A body that is cut short goes on with a new request for the rest. */
import type { StowageError } from "../errors.ts";
import type { ByteChunks } from "../streams/readable-stream.ts";
import { NoAnswer } from "./open-answer.ts";

/** New requests after cuts, one after the other, that bring less than `minProgressBytes` each. */
const maxResumes = 5;
/** After this many bytes the count begins again: a large blob may be cut often. */
const minProgressBytes = 1024 * 1024;

export interface BlobBodyOptions {
  /** The place of the first byte. */
  readonly start: number;
  /** The length of the whole blob in bytes. */
  readonly size: number;
  /** Opens the blob again. */
  readonly reopen: (start: number) => Promise<ByteChunks>;
  readonly pause: (tries: number) => Promise<void>;
  /** Makes the error of a body with more bytes. */
  readonly tooLong: () => StowageError;
  /** Makes the error of a body that is cut too often. */
  readonly gaveUp: (error: NoAnswer) => StowageError;
}

/** A hand-written iterator: a generator that was never read would not close the connection. */
export class BlobBody implements ByteChunks {
  readonly #options: BlobBodyOptions;
  #body: ByteChunks;
  /** The place of the next byte. */
  #at: number;
  /** The place at which the body was opened last. */
  #openedAt: number;
  #resumes = 0;
  #isOver = false;

  constructor(body: ByteChunks, options: BlobBodyOptions) {
    this.#body = body;
    this.#options = options;
    this.#at = options.start;
    this.#openedAt = options.start;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    while (!this.#isOver) {
      try {
        const result = await this.#body.next();
        if (result.done !== true) return this.#pass(result);
        if (this.#at < this.#options.size) throw this.#cutShort();
        this.#isOver = true;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw await this.#failure(error);
        await this.#resume(error);
      }
    }
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.#isOver = true;
    await this.#body.return();
    return { done: true, value: undefined };
  }

  #pass(result: IteratorYieldResult<Uint8Array>): IteratorResult<Uint8Array> {
    this.#at += result.value.length;
    if (this.#at > this.#options.size) throw this.#options.tooLong();
    return result;
  }

  #cutShort(): NoAnswer {
    return new NoAnswer(`the bytes ended after ${this.#at}, expected ${this.#options.size}`);
  }

  async #resume(error: NoAnswer): Promise<void> {
    const { pause, reopen, gaveUp } = this.#options;
    if (this.#at - this.#openedAt >= minProgressBytes) this.#resumes = 0;
    this.#resumes += 1;
    if (this.#resumes > maxResumes) throw await this.#failure(gaveUp(error));
    await this.#body.return();
    try {
      await pause(this.#resumes);
      this.#openedAt = this.#at;
      this.#body = await reopen(this.#at);
    } catch (failure) {
      throw await this.#failure(failure);
    }
  }

  async #failure(error: unknown): Promise<unknown> {
    await this.return();
    return error;
  }
}

/** The stream without its first bytes: some servers send the whole blob to a request for its rest. */
export function withoutFirst(chunks: ByteChunks, count: number): ByteChunks {
  let left = count;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      for (;;) {
        const result = await chunks.next();
        if (result.done === true) return result;
        const { value } = result;
        const skipped = Math.min(left, value.length);
        left -= skipped;
        if (skipped < value.length) return { done: false, value: value.subarray(skipped) };
      }
    },
    return: async () => chunks.return(),
  };
}
