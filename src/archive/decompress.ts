/**
 * First thing on a tarball's way: recognises what the body is by its first bytes, whatever its Content-Type says, and
 * yields the bytes of the tar in it.
 */
import { createGunzip } from "node:zlib";
import { StowageError, messageOf } from "../errors.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { through } from "../streams/through.ts";
import { decompressZstd, isZstd } from "./decompress-zstd.ts";

/** Measured: with the default of 16 KiB gunzip runs at half the speed. */
const gunzipChunkBytes = 256 * 1024;

/** Bytes of a tar header, the least that an archive has. */
const tarHeaderBytes = 512;

/** Returns the tar in `source`, which is plain, gzip or zstd. Throws `ARCHIVE_INVALID` for anything else. */
export async function decompress(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const reader = new ByteReader(source);
  const head = await reader.peek(tarHeaderBytes);
  if (isGzip(head)) return orInvalid("gzip", through(reader.rest(), createGunzip({ chunkSize: gunzipChunkBytes })));
  if (isZstd(head)) return orInvalid("zstd", decompressZstd(reader));
  if (isTar(head)) return reader.rest();
  await reader.close();
  throw notAnArchive(head);
}

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/** A tar header carries the sum of its own bytes; the eight that hold it count as spaces. Empty archives are zeros. */
function isTar(head: Uint8Array): boolean {
  if (head.length < tarHeaderBytes) return false;
  if (head.every((byte) => byte === 0)) return true;
  const text = String.fromCharCode(...head.subarray(148, 156));
  const sum = head.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 0x20 : byte), 0);
  return Number.parseInt(text.replaceAll("\0", " ").trim(), 8) === sum;
}

/** Formats that are named in the refusal, since somebody will try them. */
const refusedFormats: readonly (readonly [name: string, magic: readonly number[]])[] = [
  ["xz-compressed", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["bzip2-compressed", [0x42, 0x5a, 0x68]],
  ["a zip file", [0x50, 0x4b, 0x03, 0x04]],
  ["a SquashFS or SIF file", [0x68, 0x73, 0x71, 0x73]],
];

function notAnArchive(head: Uint8Array): StowageError {
  const format = refusedFormats.find(([, magic]) => magic.every((byte, i) => head[i] === byte));
  const found =
    head.length === 0
      ? "it is empty"
      : format === undefined
        ? `it starts with ${JSON.stringify(new TextDecoder("latin1").decode(head.subarray(0, 16)))}`
        : `it is ${format[0]}`;
  return new StowageError(
    "ARCHIVE_INVALID",
    `Cannot read the body as an archive: ${found}; expected a tarball, plain or compressed with gzip or zstd`,
  );
}

/** Errors of the decompressor become ours; those of the source, and ours, pass as they are. */
async function* orInvalid(format: string, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (error) {
    if (!isDecompressionError(error)) throw error;
    throw new StowageError("ARCHIVE_INVALID", `Cannot decompress the ${format} body: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function isDecompressionError(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return /^Z_|^ZSTD_|^ERR_ZSTD/.test(code);
}
