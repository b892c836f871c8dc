/**
 * Undoes what a request's Content-Encoding names (RFC 9110, 8.4), before anybody looks at the first bytes: what comes out
 * may be a compressed tarball again. One encoding is undone, not one inside another.
 */
import { type CompressionFormat, type ExpandOptions, expand } from "../archive/decompress.ts";
import { StowageError } from "../errors.ts";
import { ByteReader } from "../streams/byte-reader.ts";

export type ContentEncoding = CompressionFormat | "identity";

const encodings: ReadonlyMap<string, ContentEncoding> = new Map([
  ["", "identity"],
  ["identity", "identity"],
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["zstd", "zstd"],
]);

/** Reads the header's value; undefined if it is none that can be undone. */
export function parseContentEncoding(header = ""): ContentEncoding | undefined {
  return encodings.get(header.trim().toLowerCase());
}

/** Yields the content. Throws `ARCHIVE_INVALID` if it is not encoded so, and `LIMIT_EXCEEDED`. */
export function decodeContent(
  source: AsyncIterable<Uint8Array>,
  encoding: ContentEncoding,
  options: ExpandOptions,
): AsyncIterable<Uint8Array> {
  return encoding === "identity" ? source : expand(new ByteReader(source), encoding, options);
}

// How large a tarball may be: looked at before a byte of it is read, where its length is known, and while it is read.

/** Throws `LIMIT_EXCEEDED` if so many bytes, announced or received, are more than `maxBodyBytes`. */
export function checkBodyBytes(found: number, maxBodyBytes: number): void {
  if (found <= maxBodyBytes) return;
  throw new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot load the archive: it has ${found} bytes or more, at most ${maxBodyBytes} are allowed (maxBodyBytes)`,
    { detail: { limit: "maxBodyBytes", found, expected: maxBodyBytes } },
  );
}
