/** Checks that bytes have the size and the digest that were announced. */
import { type Digest, Digester, algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { freeChunk } from "./chunk-memory.ts";

export interface ExpectedBytes {
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
}

/** Is it the error of bytes that have another size or digest than was announced? */
export function isWrongBytes(error: unknown): error is StowageError {
  return error instanceof StowageError && (error.code === "DIGEST_INVALID" || error.code === "SIZE_INVALID");
}

const end: IteratorReturnResult<undefined> = { done: true, value: undefined };

/**
 * Hashes a blob while it is read. The last chunk is passed on only after size and digest were found right. Otherwise
 * the stream throws `SIZE_INVALID` or `DIGEST_INVALID` instead: most stores accept a body as soon as its last byte has
 * come.
 *
 * A hand-written iterator: every byte of a load passes here, and a generator costs more.
 */
export class VerifiedBytes implements AsyncIterableIterator<Uint8Array, undefined> {
  /** Resolves when a reader has read to the end. Never resolves if the reader leaves early. */
  readonly ended: Promise<void>;
  readonly #chunks: AsyncIterator<Uint8Array, unknown>;
  readonly #expected: ExpectedBytes;
  readonly #digester: Digester;
  #received = 0;
  #held: Uint8Array | undefined;
  #isVerified = false;
  #tellEnd: () => void = () => undefined;

  constructor(source: AsyncIterable<Uint8Array>, expected: ExpectedBytes) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#expected = expected;
    this.#digester = new Digester(algorithmOf(expected.digest));
    this.ended = new Promise((resolve) => (this.#tellEnd = resolve));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (!this.#isVerified) {
      const { done, value } = await this.#chunks.next();
      if (done === true) {
        this.#verify();
        break;
      }
      const chunk = value;
      this.#received += chunk.length;
      if (this.#received > this.#expected.size) {
        await this.return();
        checkSize(this.#expected, this.#received);
      }
      this.#digester.update(chunk);
      const before = this.#held;
      this.#held = chunk;
      if (before !== undefined) return { done: false, value: before };
    }
    const last = this.#held;
    this.#held = undefined;
    if (last !== undefined) return { done: false, value: last };
    this.#tellEnd();
    return end;
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    await this.#chunks.return?.();
    return end;
  }

  /** Reads to the end. */
  async drain(): Promise<void> {
    for await (const chunk of this) freeChunk(chunk);
  }

  #verify(): void {
    checkSize(this.#expected, this.#received);
    checkDigest(this.#expected, this.#digester.digest());
    this.#isVerified = true;
  }
}

/** Throws `SIZE_INVALID` unless this number of bytes was expected. */
export function checkSize({ digest, size }: ExpectedBytes, received: number): void {
  if (received === size) return;
  const found = received > size ? `more than ${size} bytes` : `${received} bytes`;
  throw new StowageError("SIZE_INVALID", `Cannot take blob "${digest}": received ${found}, expected ${size}`, {
    detail: { digest, expected: size },
  });
}

/** Throws `DIGEST_INVALID` unless this digest was expected. */
export function checkDigest({ digest, size }: ExpectedBytes, found: Digest): void {
  if (found === digest) return;
  throw new StowageError("DIGEST_INVALID", `Cannot take blob "${digest}": its ${size} bytes have digest "${found}"`, {
    detail: { digest, found },
  });
}
