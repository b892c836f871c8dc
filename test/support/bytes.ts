/** Bytes for tests: deterministic, split as a test wants them, and read back whole. */
import { createHash } from "node:crypto";
import type { Digest } from "../../src/digest.ts";

/** So many bytes that no compressor makes smaller, the same for the same seed. */
export function randomBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed * 2654435761;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function sha512(bytes: Uint8Array): Digest {
  return `sha512:${createHash("sha512").update(bytes).digest("hex")}`;
}

/** The digest of the bytes, with the algorithm of another digest. */
export function digestLike(digest: string, bytes: Uint8Array): Digest {
  return digest.startsWith("sha512:") ? sha512(bytes) : sha256(bytes);
}

/** The bytes in chunks of `size`. */
export async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

/** The bytes in chunks of these sizes, again and again. */
export async function* splitInto(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let i = 0, at = 0; at < bytes.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] ?? bytes.length);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

/** The bytes in two chunks, cut at `at`. */
export async function* cutAt(bytes: Uint8Array, at: number): AsyncGenerator<Uint8Array> {
  if (at > 0) yield bytes.subarray(0, at);
  if (at < bytes.length) yield bytes.subarray(at);
}

export async function readAll(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Yields the bytes and then nothing more, without an end: a client that is connected and silent. */
export async function* stallAfter(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
  await new Promise(() => undefined);
}
