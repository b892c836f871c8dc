/**
 * Decodes a body by the request's Content-Encoding (RFC 9110, 8.4). The decoded body may be a compressed tarball, so
 * decoding comes before the first look at its bytes. One encoding is accepted. A list of several encodings is refused.
 */
import { type CompressionFormat, type ExpandOptions, expand } from "../archive/decompress.ts";
import { limitExceeded } from "../errors.ts";
import { ByteReader } from "../streams/byte-reader.ts";

export type ContentEncoding = CompressionFormat | "identity";

const encodings: ReadonlyMap<string, ContentEncoding> = new Map([
  ["", "identity"],
  ["identity", "identity"],
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["zstd", "zstd"],
]);

/** Reads the header's value; undefined for an encoding that cannot be decoded. */
export function parseContentEncoding(header = ""): ContentEncoding | undefined {
  return encodings.get(header.trim().toLowerCase());
}

/** Yields the content. Throws `ARCHIVE_INVALID` if the source has another encoding, and `LIMIT_EXCEEDED`. */
export function decodeContent(
  source: AsyncIterable<Uint8Array>,
  encoding: ContentEncoding,
  options: ExpandOptions,
): AsyncIterable<Uint8Array> {
  return encoding === "identity" ? source : expand(new ByteReader(source), encoding, options);
}

/**
 * Checks the length of a tarball: an announced length before the first byte is read, and the real length during the
 * reading. Throws `LIMIT_EXCEEDED`.
 */
export function checkBodyBytes(found: number, maxBodyBytes: number): void {
  if (found <= maxBodyBytes) return;
  const problem = `Cannot load the archive: it has ${found} bytes or more`;
  throw limitExceeded(problem, { limit: "maxBodyBytes", found, expected: maxBodyBytes });
}
