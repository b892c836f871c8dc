/** Passes on the bytes of a blob or another object, if they are as many as were announced. */
import { StowageError } from "../errors.ts";

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
