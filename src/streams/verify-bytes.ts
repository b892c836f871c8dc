/**
 * Hashes a blob as it flows by. Its last chunk is let go of only once size and digest are right: what fails after its
 * last byte has already been taken for whole by most stores.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { StowageError } from "../errors.ts";

export interface ExpectedBytes {
  /** `sha256:<64 hex>` */
  readonly digest: string;
  /** Length in bytes. */
  readonly size: number;
}

/** Yields the bytes of `source`. Throws `SIZE_INVALID` or `DIGEST_INVALID` instead of the last chunk if they are wrong. */
export async function* verifyBytes(
  source: AsyncIterable<Uint8Array>,
  expected: ExpectedBytes,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let received = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of source) {
    received += chunk.length;
    if (received > expected.size) break;
    hash.update(chunk);
    if (held !== undefined) yield held;
    held = chunk;
  }
  checkSize(expected, received);
  checkDigest(expected, `sha256:${hash.digest("hex")}`);
  if (held !== undefined) yield held;
}

/** Throws `SIZE_INVALID` unless so many bytes were expected. */
export function checkSize({ digest, size }: ExpectedBytes, received: number): void {
  if (received === size) return;
  const found = received > size ? `more than ${size} bytes` : `${received} bytes`;
  throw new StowageError("SIZE_INVALID", `Cannot take blob "${digest}": received ${found}, expected ${size}`, {
    detail: { digest, expected: size },
  });
}

/** Throws `DIGEST_INVALID` unless this digest was expected. */
export function checkDigest({ digest, size }: ExpectedBytes, found: string): void {
  if (found === digest) return;
  throw new StowageError("DIGEST_INVALID", `Cannot take blob "${digest}": its ${size} bytes have digest "${found}"`, {
    detail: { digest, found },
  });
}

// Passes on the bytes of a blob or another object, if they are as many as were announced.

/** Yields the chunks of `what`. Throws `SIZE_INVALID` unless they have `size` bytes together. */
export async function* exactly(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { size, what }: { readonly size: number; readonly what: string },
): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of chunks) {
    received += chunk.length;
    if (received > size) break;
    yield chunk;
  }
  if (received !== size) throw wrongSize(what, { received, size });
}

/** `SIZE_INVALID`. `received` bytes came, possibly not all. */
export function wrongSize(
  what: string,
  { received, size }: { readonly received: number; readonly size: number },
): StowageError {
  const found = received > size ? `more than ${size} bytes` : `${received} bytes`;
  return new StowageError("SIZE_INVALID", `Cannot store ${what}: received ${found}, expected ${size}`, {
    detail: { expected: size },
  });
}

// SHA-256 of bytes that are all in memory: every runtime works it out beside the calling thread.

/** The digest of `bytes`, `sha256:<64 hex>`. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `sha256:${Buffer.from(digest).toString("hex")}`;
}
