/**
 * Recognises the format of a body by its first bytes, not by its Content-Type, and decompresses it. The result must be
 * a tar. A body that was compressed twice is refused.
 */
import { createGunzip } from "node:zlib";
import { StowageError, limitExceeded, messageOf } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { through } from "../streams/through.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { type HoldWindow, decompressZstd, isZstd } from "./decompress-zstd.ts";
import { blockBytes, hasTarChecksum } from "./tar-header.ts";
import { bytesAfter, expectZeros, isZeros } from "./trailing-zeros.ts";

/**
 * Returns the tar in `source`, which is plain, gzip or zstd. Throws `ARCHIVE_INVALID` for any other format. Reading the
 * result throws `LIMIT_EXCEEDED` if the tar is larger than the limits allow.
 */
export async function decompress(source: AsyncIterable<Uint8Array>, options: ExpandOptions): Promise<ByteReader> {
  const reader = new ByteReader(source);
  const head = await reader.peek(blockBytes);
  const format = isGzip(head) ? "gzip" : isZstd(head) ? "zstd" : undefined;
  if (format === undefined) return expectTar(reader, "the body");
  return expectTar(new ByteReader(expand(reader, format, options)), `what the ${format} body holds`);
}

/** The limits of the decompressed bytes, and how to wait for the memory of a zstd window. */
export interface ExpandOptions extends Pick<Limits, "maxExpansionRatio" | "maxExpandedBytes"> {
  readonly holdWindow?: HoldWindow | undefined;
  /**
   * Counts the bytes that were received from the client. Needed if the body was already decoded once: two decodings,
   * each within the ratio, could together expand the body by the square of the ratio. By default the bytes before this
   * decompression are counted.
   */
  readonly received?: Meter | undefined;
}

export type CompressionFormat = "gzip" | "zstd";

/**
 * Decompresses the format. Reading the result throws `ARCHIVE_INVALID` if the data is damaged, cut short or followed by
 * other bytes, and `LIMIT_EXCEEDED`.
 */
export function expand(reader: ByteReader, format: CompressionFormat, options: ExpandOptions): WatchedSource {
  const content = format === "gzip" ? decompressGzip(reader) : decompressZstd(reader, options.holdWindow);
  const expanded: WatchedSource = new WatchedSource(content).watch({
    onChunk: ({ length }) => checkExpansion(expanded.bytes + length, options.received ?? reader, format, options),
  });
  return expanded;
}

async function expectTar(reader: ByteReader, what: string): Promise<ByteReader> {
  let head: Uint8Array;
  try {
    head = await reader.peek(blockBytes);
    if (isTar(head)) return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
  await reader.close();
  throw notAnArchive(head, what);
}

/** Is this the first block of a tar? An empty tar begins with zeros. */
function isTar(head: Uint8Array): boolean {
  return head.length === blockBytes && (isZeros(head) || hasTarChecksum(head));
}

type Recognise = (head: Uint8Array, text: string) => boolean;
const startsWith =
  (magic: string): Recognise =>
  (_, text) =>
    text.startsWith(magic);
const matches =
  (pattern: RegExp): Recognise =>
  (_, text) =>
    pattern.test(text);

/** Formats that users try. The error names them. */
const refusedFormats: readonly (readonly [name: string, recognise: Recognise])[] = [
  ["it is gzip-compressed, once more", isGzip],
  ["it is zstd-compressed, once more", isZstd],
  ["it is xz-compressed", startsWith("\xfd7zXZ\0")],
  ["it is bzip2-compressed", startsWith("BZh")],
  ["it is lz4-compressed", startsWith("\x04\x22\x4d\x18")],
  ["it is a zip file", startsWith("PK\x03\x04")],
  ["it is a SquashFS or SIF file", startsWith("hsqs")],
  ["it is a form, as curl -F sends it (use curl -T)", matches(/^--[^\r\n]{1,200}\r\nContent-Disposition: form-data/i)],
  ["it looks like a web page", matches(/^\s*<(?:!doctype|html|head|\?xml|!--)/i)],
  ["it looks like JSON", matches(/^\s*[{[]\s*["{[\]}]/)],
];

function notAnArchive(head: Uint8Array, what: string): StowageError {
  const text = new TextDecoder("latin1").decode(head);
  const format = refusedFormats.find(([, recognise]) => recognise(head, text));
  const found =
    head.length === 0 ? "it is empty" : (format?.[0] ?? `it starts with ${JSON.stringify(text.slice(0, 16))}`);
  return new StowageError(
    "ARCHIVE_INVALID",
    `Cannot read ${what} as an archive: ${found}; expected a tarball, plain or compressed with gzip or zstd`,
  );
}

/** Chunks out of gunzip. Measured: with the default of 16 KiB gunzip runs at half the speed. */
const outputChunkBytes = 256 * 1024;

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/**
 * Yields the content of all members of a gzip body (RFC 1952). Throws `ARCHIVE_INVALID` if a member is damaged or cut
 * short, or if bytes other than zeros follow the last one.
 */
async function* decompressGzip(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: outputChunkBytes });
  const input = new Input(reader);
  try {
    yield* through(input.chunks(), gunzip, explain);
    // gunzip ends without an error at a zero behind a member. By then it may have read bytes behind that zero.
    await input.settled();
    if (input.nonZeroBytes > gunzip.bytesWritten) throw bytesAfter(endOfGzip);
    await expectZeros(reader, endOfGzip);
  } finally {
    await reader.close();
  }
}

function explain(error: unknown): StowageError {
  if (isPastEnd(error)) return bytesAfter(endOfGzip);
  const message = `Cannot decompress the gzip body: ${messageOf(error)}`;
  return new StowageError("ARCHIVE_INVALID", message, { cause: error });
}

/** Deno's zlib throws this error if another member follows zeros. */
function isPastEnd(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_STREAM_PUSH_AFTER_EOF";
}

const endOfGzip = "the end of the gzip stream";

/** The input of the decompressor. */
class Input {
  readonly #source: AsyncIterator<Uint8Array, unknown>;
  #last: Promise<IteratorResult<Uint8Array, unknown>> | undefined;
  #bytes = 0;
  /** Bytes that the decompressor has got, without the zeros at the end. */
  nonZeroBytes = 0;

  constructor(reader: ByteReader) {
    this.#source = reader.stream();
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

  /** Waits for the chunk that the decompressor requested last. The decompressor can end before that chunk has come. */
  async settled(): Promise<void> {
    await this.#last;
  }
}

/** The ratio is checked only above this many bytes of output. The zeros that fill up a small tar compress very well. */
const freeBytes = 64 * 1024 * 1024;

/** Counts bytes. */
interface Meter {
  readonly bytes: number;
}

/** Throws `LIMIT_EXCEEDED` if a compressed body may not expand to this many bytes. */
function checkExpansion(
  bytes: number,
  received: Meter,
  format: CompressionFormat,
  { maxExpansionRatio, maxExpandedBytes }: ExpandOptions,
): void {
  const cannot = `Cannot decompress the ${format} body`;
  if (bytes > maxExpandedBytes) {
    const found = `${cannot}: it expands to ${bytes} bytes or more`;
    throw limitExceeded(found, { limit: "maxExpandedBytes", expected: maxExpandedBytes });
  }
  if (bytes > freeBytes && bytes > received.bytes * maxExpansionRatio) {
    const found = `${cannot}: its first ${received.bytes} bytes expand to ${bytes}; for each byte`;
    throw limitExceeded(found, { limit: "maxExpansionRatio", expected: maxExpansionRatio });
  }
}
