/**
 * First thing on a tarball's way: recognises what the body is by its first bytes, whatever its Content-Type says, and
 * undoes its compression. What comes out must be a tar: a body that was compressed twice is refused.
 */
import { StowageError } from "../errors.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { decompressGzip, isGzip } from "./decompress-gzip.ts";
import { type ZstdOptions, decompressZstd, isZstd } from "./decompress-zstd.ts";
import { type ExpansionLimits, type Meter, countBytes, limitExpansion } from "./limit-expansion.ts";
import { blockBytes, hasTarChecksum } from "./tar-header.ts";
import { isZeros } from "./trailing-zeros.ts";

export type { ExpansionLimits } from "./limit-expansion.ts";

/**
 * Reads the tar in `source`, which is plain, gzip or zstd. Throws `ARCHIVE_INVALID` for anything else, and, while it is
 * read, `LIMIT_EXCEEDED` if it expands to more than the limits allow.
 */
export async function decompress(source: AsyncIterable<Uint8Array>, options: ExpandOptions): Promise<ByteReader> {
  const reader = new ByteReader(source);
  const head = await reader.peek(blockBytes);
  const format = isGzip(head) ? "gzip" : isZstd(head) ? "zstd" : undefined;
  if (format === undefined) return expectTar(reader, "the body");
  const content = expand(reader.rest(), format, options);
  return expectTar(new ByteReader(content), `what the ${format} body holds`);
}

/** How much may come out, and what asks for the memory that this takes. */
export interface ExpandOptions extends ExpansionLimits, ZstdOptions {
  /**
   * Counts the bytes as they came, where what is decompressed here was decoded before: two steps, each within the ratio,
   * would be its square. Without it the bytes that are decompressed are counted.
   */
  readonly received?: Readonly<Meter> | undefined;
}

/** What a body can be compressed with. */
export type CompressionFormat = "gzip" | "zstd";

/**
 * Yields what was compressed in this format. Throws `ARCHIVE_INVALID` if it is damaged, cut short, or goes on after its end,
 * and `LIMIT_EXCEEDED`.
 */
export function expand(
  source: AsyncIterable<Uint8Array>,
  format: CompressionFormat,
  options: ExpandOptions,
): AsyncGenerator<Uint8Array> {
  const meter = { bytes: 0 };
  const reader = new ByteReader(countBytes(source, meter));
  const content = format === "gzip" ? decompressGzip(reader) : decompressZstd(reader, options);
  return limitExpansion(content, { format, meter: options.received ?? meter, limits: options });
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

/** Empty archives are zeros. */
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

/** What is named in the refusal, since somebody will try it. */
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
