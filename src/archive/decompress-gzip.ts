/** Gzip, one member after the other (RFC 1952). */
import { createGunzip } from "node:zlib";
import { StowageError, messageOf } from "../errors.ts";
import type { ByteReader } from "../streams/byte-reader.ts";
import { through } from "../streams/through.ts";
import { bytesAfter, expectZeros } from "./trailing-zeros.ts";

/** Measured: with the default of 16 KiB gunzip runs at half the speed. */
const outputChunkBytes = 256 * 1024;

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/**
 * Yields the content of all members. Throws `ARCHIVE_INVALID` if one is damaged or cut short, or if anything but zeros
 * follows them.
 */
export async function* decompressGzip(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: outputChunkBytes });
  const input = new Input(reader);
  try {
    yield* through(input.chunks(), gunzip, explain);
    // Where a zero follows a member it ends there, and says nothing of the rest, of which it may hold a part already.
    await input.settled();
    if (input.nonZeroBytes > gunzip.bytesWritten) throw bytesAfter(endOfGzip);
    await expectZeros(reader.rest(), endOfGzip);
  } finally {
    await reader.close();
  }
}

function explain(error: unknown): StowageError {
  if (isPastEnd(error)) return bytesAfter(endOfGzip);
  const message = `Cannot decompress the gzip body: ${messageOf(error)}`;
  return new StowageError("ARCHIVE_INVALID", message, { cause: error });
}

/** What Deno's zlib says when it goes on after zeros and finds another member. */
function isPastEnd(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_STREAM_PUSH_AFTER_EOF";
}

const endOfGzip = "the end of the gzip stream";

/** What is given to the decompressor. */
class Input {
  readonly #source: AsyncGenerator<Uint8Array>;
  #last: Promise<IteratorResult<Uint8Array, unknown>> | undefined;
  #bytes = 0;
  /** So many bytes have been given, those not counted that are zeros and came last. */
  nonZeroBytes = 0;

  constructor(reader: ByteReader) {
    this.#source = reader.stream(Number.POSITIVE_INFINITY);
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    for (;;) {
      this.#last = this.#source.next();
      const next = await this.#last;
      if (next.done === true) return;
      const lastNonZero = next.value.findLastIndex((byte) => byte !== 0);
      if (lastNonZero !== -1) this.nonZeroBytes = this.#bytes + lastNonZero + 1;
      this.#bytes += next.value.length;
      yield next.value;
    }
  }

  /** The decompressor may have asked for a chunk that it does not wait for any more. */
  async settled(): Promise<void> {
    await this.#last;
  }
}
