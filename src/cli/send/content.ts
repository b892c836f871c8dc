/** The bytes that are sent. Any part of them can be read again, for another try or by another run of the command. */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { type Digest, Digester } from "../../digest.ts";
import { StowageError } from "../../errors.ts";

/** Measured: the 64 KiB of most streams take four times the calls. */
const chunkBytes = 256 * 1024;

/** A piece of the content: bytes in memory, or a range of the file. */
export type Segment = { readonly bytes: Uint8Array } | FileSegment;

interface FileSegment {
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
  /** The segment before this one has the digest of these bytes. So the fingerprint need not read them. */
  readonly isNamed: boolean;
}

export class Content {
  /** Length in bytes. */
  readonly size: number;
  readonly #file: FileHandle;
  readonly #segments: readonly Segment[];

  /** The caller closes the file. */
  constructor(file: FileHandle, segments: readonly Segment[]) {
    this.#file = file;
    this.#segments = segments;
    this.size = segments.reduce((sum, segment) => sum + sizeOf(segment), 0);
  }

  /**
   * The bytes from `start` up to `end`, which is not included. Throws `ARCHIVE_INVALID` if the file has become shorter.
   */
  async *read(start = 0, end = this.size): AsyncGenerator<Uint8Array> {
    let at = 0;
    for (const segment of this.#segments) {
      const size = sizeOf(segment);
      const [from, to] = [Math.max(start - at, 0), Math.min(end - at, size)];
      if (from < to) yield* this.#readSegment(segment, from, to);
      at += size;
      if (at >= end) return;
    }
  }

  /** A digest that names the content. The same bytes have the same name in any file. */
  async fingerprint(signal?: AbortSignal): Promise<Digest> {
    const digester = new Digester();
    for (const segment of this.#segments) {
      if ("size" in segment && segment.isNamed) continue;
      for await (const chunk of this.#readSegment(segment, 0, sizeOf(segment))) {
        signal?.throwIfAborted();
        digester.update(chunk);
      }
    }
    return digester.digest();
  }

  async *#readSegment(segment: Segment, from: number, to: number): AsyncGenerator<Uint8Array> {
    if ("bytes" in segment) {
      yield segment.bytes.subarray(from, to);
      return;
    }
    for (let at = from; at < to;) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(chunkBytes, to - at));
      const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, segment.offset + at);
      if (bytesRead === 0) throw cutShort(segment.offset + at);
      yield chunk.subarray(0, bytesRead);
      at += bytesRead;
    }
  }
}

function sizeOf(segment: Segment): number {
  return "bytes" in segment ? segment.bytes.length : segment.size;
}

function cutShort(found: number): StowageError {
  const message = `Cannot send the archive: it has changed meanwhile, and ends after ${found} bytes`;
  return new StowageError("ARCHIVE_INVALID", message);
}
