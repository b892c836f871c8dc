/**
 * Hashes a blob as it flows by. Its last chunk is let go of only once size and digest are right: what fails after its
 * last byte has already been taken for whole by most stores.
 */
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
  { digest, size }: ExpectedBytes,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let received = 0;
  let held: Uint8Array | undefined;
  for await (const chunk of source) {
    received += chunk.length;
    if (received > size) throw wrongSize({ digest, size }, `more than ${size} bytes`);
    hash.update(chunk);
    if (held !== undefined) yield held;
    held = chunk;
  }
  if (received !== size) throw wrongSize({ digest, size }, `${received} bytes`);
  const found = `sha256:${hash.digest("hex")}`;
  if (found !== digest) {
    throw new StowageError("DIGEST_INVALID", `Cannot take blob "${digest}": its ${size} bytes have digest "${found}"`, {
      detail: { digest, found },
    });
  }
  if (held !== undefined) yield held;
}

function wrongSize({ digest, size }: ExpectedBytes, found: string): StowageError {
  return new StowageError("SIZE_INVALID", `Cannot take blob "${digest}": received ${found}, expected ${size}`, {
    detail: { digest, expected: size },
  });
}
