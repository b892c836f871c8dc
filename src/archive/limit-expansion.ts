/** Against bodies of a few bytes that expand to as many as their sender likes. */
import { StowageError } from "../errors.ts";

/** Until so many bytes have come out the ratio does not count: the zeros that fill up a small tar compress very well. */
const freeBytes = 64 * 1024 * 1024;

export interface ExpansionLimits {
  /** Bytes out of a compressed body for each byte of it. */
  readonly maxExpansionRatio: number;
  /** Bytes out of a compressed body. */
  readonly maxExpandedBytes: number;
}

/** Counts what has come. */
export interface Meter {
  bytes: number;
}

export interface LimitExpansionOptions {
  readonly format: string;
  /** Counts the compressed bytes. */
  readonly meter: Readonly<Meter>;
  readonly limits: ExpansionLimits;
}

/** Passes on what a decompressor yields. Throws `LIMIT_EXCEEDED` once that is more than the limits allow. */
export async function* limitExpansion(
  source: AsyncIterable<Uint8Array>,
  { format, meter, limits }: LimitExpansionOptions,
): AsyncGenerator<Uint8Array> {
  const { maxExpansionRatio, maxExpandedBytes } = limits;
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    if (bytes > maxExpandedBytes) {
      throw tooLarge(format, `to more than ${maxExpandedBytes} bytes (maxExpandedBytes)`, {
        limit: "maxExpandedBytes",
        expected: maxExpandedBytes,
      });
    }
    if (bytes > freeBytes && bytes > meter.bytes * maxExpansionRatio) {
      const found = `its first ${meter.bytes} bytes to ${bytes}`;
      throw tooLarge(format, `${found}, more than ${maxExpansionRatio} times as many (maxExpansionRatio)`, {
        limit: "maxExpansionRatio",
        expected: maxExpansionRatio,
      });
    }
    yield chunk;
  }
}

export async function* countBytes(source: AsyncIterable<Uint8Array>, meter: Meter): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    meter.bytes += chunk.length;
    yield chunk;
  }
}

function tooLarge(format: string, found: string, detail: Readonly<Record<string, unknown>>): StowageError {
  return new StowageError("LIMIT_EXCEEDED", `Cannot decompress the ${format} body: it expands ${found}`, { detail });
}
