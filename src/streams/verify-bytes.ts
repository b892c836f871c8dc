/** Checks that bytes have the size and the digest that were announced. */
import { Buffer } from "node:buffer";
import { type Algorithm, type ChunkHash, type Digest, Digester, type Hasher, algorithmOf } from "../digest.ts";
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
  readonly #hasher: Hasher;
  /** Begins with the first read. */
  #hash: ChunkHash | undefined;
  #received = 0;
  #held: Uint8Array | undefined;
  #isVerified = false;
  #tellEnd: () => void = () => undefined;

  /** The bytes are hashed by `hasher`, by default in this thread. */
  constructor(source: AsyncIterable<Uint8Array>, expected: ExpectedBytes, hasher: Hasher = hashHere) {
    this.#chunks = source[Symbol.asyncIterator]();
    this.#expected = expected;
    this.#hasher = hasher;
    this.ended = new Promise((resolve) => (this.#tellEnd = resolve));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (!this.#isVerified) {
      const chunk = await this.#hashNext();
      if (chunk === undefined) break;
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
    this.#hash?.cancel();
    await this.#chunks.return?.();
    return end;
  }

  /** Reads to the end. */
  async drain(): Promise<void> {
    for await (const chunk of this) freeChunk(chunk);
  }

  /** Hashes the next chunk. Undefined at the end of a right blob. */
  async #hashNext(): Promise<Uint8Array | undefined> {
    const hash = (this.#hash ??= this.#hasher(algorithmOf(this.#expected.digest)));
    try {
      const { done, value } = await this.#chunks.next();
      if (done === true) {
        checkSize(this.#expected, this.#received);
        checkDigest(this.#expected, await hash.digest());
        this.#isVerified = true;
        return undefined;
      }
      this.#received += value.length;
      if (this.#received > this.#expected.size) {
        await this.return();
        checkSize(this.#expected, this.#received);
      }
      await hash.update(value);
      return value;
    } catch (error) {
      hash.cancel();
      throw error;
    }
  }
}

/** A blob in memory. */
export interface CollectedBlob {
  readonly bytes: Uint8Array;
  /** Rejects with `DIGEST_INVALID` if the bytes are wrong. */
  readonly verified: Promise<void>;
}

/**
 * Reads a blob into memory. Throws `SIZE_INVALID` for another size. The digest may be checked in another thread while
 * the caller reads on.
 */
export async function collectBlob(
  source: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
  hasher: Hasher = hashHere,
): Promise<CollectedBlob> {
  const hash = hasher(algorithmOf(expected.digest));
  try {
    const bytes = Buffer.allocUnsafeSlow(expected.size);
    let length = 0;
    for await (const chunk of source) {
      if (length + chunk.length > expected.size) checkSize(expected, length + chunk.length);
      await hash.update(chunk);
      bytes.set(chunk, length);
      length += chunk.length;
      freeChunk(chunk);
    }
    checkSize(expected, length);
    const digest = hash.digest();
    if (typeof digest === "string") checkDigest(expected, digest);
    const verified = Promise.resolve(digest).then((found) => checkDigest(expected, found));
    verified.catch(() => undefined); // the caller may await it late
    return { bytes, verified };
  } catch (error) {
    hash.cancel();
    throw error;
  }
}

function hashHere(algorithm: Algorithm): ChunkHash {
  return new Digester(algorithm);
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
