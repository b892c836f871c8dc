/**
 * Decompresses Zstandard, one frame after the other (RFC 8878, section 3). This file finds the frames itself, for two
 * reasons. Node's decompressor stops after the first of several frames in one chunk, without an error. And fzstd
 * allocates any window that a frame claims, up to 2 GiB.
 */
import { Buffer } from "node:buffer";
import { Transform } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import zlib from "node:zlib";
import { Decompress as Fzstd } from "fzstd";
import { StowageError, limitExceeded, messageOf } from "../errors.ts";
import type { Release } from "../streams/line.ts";
import type { ByteReader } from "../streams/byte-reader.ts";
import { through } from "../streams/through.ts";
import { expectZeros } from "./trailing-zeros.ts";

/**
 * The largest windows, as powers of two. Node's native decoder has the limit of the `zstd` command. fzstd moves its
 * whole window with each block, so its limit is lower.
 */
const maxWindowLog = 27;
const maxFzstdWindowLog = 23;
/** Bytes of a chunk that the native decoder puts out. Measured: the default of 16 KiB is four times as slow. */
const outputChunkBytes = 256 * 1024;

/**
 * Frames of one body. Each frame has its own decoder, which takes 0.2 ms. Parallel writers make one frame for some MiB.
 */
const maxFrames = 50_000;
/**
 * Frames between two turns of the event loop. A decoder that works synchronously, such as Deno's, would otherwise stop
 * all other requests.
 */
const framesInTurn = 100;
/**
 * The native decoder gets at least this many bytes in one call. A block can have only three bytes, and each call costs
 * time.
 */
const inputChunkBytes = 16 * 1024;

/**
 * The window that zstd uses at its levels up to 19. This much memory is held from the first frame on, even if that
 * frame needs less.
 */
const usualWindowBytes = 2 ** 23;

const cannot = "Cannot decompress the zstd body";
const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50; // 0x184d2a50 to 0x184d2a5f mark skippable frames

export function isZstd(head: Uint8Array): boolean {
  return head.length >= 4 && isMagic(uint32(head, 0));
}

/** Waits for the memory of a window. Called once, before the first byte comes out. */
export type HoldWindow = (bytes: number) => Promise<Release>;

/**
 * Yields the content of all frames. Zeros may follow the frames. Throws `ARCHIVE_INVALID`. Throws `LIMIT_EXCEEDED` if a
 * window is above the limit, or larger than the memory that was held for the first frame.
 */
export async function* decompressZstd(reader: ByteReader, holdWindow?: HoldWindow): AsyncGenerator<Uint8Array> {
  let heldBytes = 0;
  let release: Release | undefined;
  try {
    let frames = 0;
    for (let head = await reader.peek(8); isZstd(head); head = await reader.peek(8)) {
      if (frames % framesInTurn === framesInTurn - 1) await nextTurn();
      if (++frames > maxFrames)
        throw limitExceeded(`${cannot}: it has ${frames} frames or more`, { expected: maxFrames });
      if (uint32(head, 0) === frameMagic) {
        const header = await readFrameHeader(reader);
        const windowBytes = windowBytesOf(header);
        if (heldBytes === 0) {
          heldBytes = Math.max(windowBytes, usualWindowBytes);
          release = await holdWindow?.(heldBytes);
        }
        checkWindow(windowBytes, heldBytes, " after a first frame that needs no more");
        yield* decodeFrame(readFrame(header, reader));
      } else if (head.length === 8) await reader.skip(8 + uint32(head, 4), cutShort);
      else throw cutShort();
    }
    if (frames === 0 && (await reader.peek(1)).length > 0) throw invalid("it does not begin with a frame");
    await expectZeros(reader, "the end of the zstd stream");
  } finally {
    release?.();
    await reader.close();
  }
}

async function readFrameHeader(reader: ByteReader): Promise<Uint8Array> {
  const flags = (await reader.peek(5))[4] ?? 0;
  const header = await readExactly(reader, headerBytes(flags));
  if (hasNativeZstd(zlib)) checkWindow(windowBytesOf(header), 2 ** maxWindowLog);
  else checkWindow(windowBytesOf(header), 2 ** maxFzstdWindowLog, ` (Node 22.15 or later takes ${2 ** maxWindowLog})`);
  return header;
}

/**
 * All bytes of one frame: header, blocks and checksum. A frame that is cut short throws here, because some decoders
 * accept it.
 */
async function* readFrame(header: Uint8Array, reader: ByteReader): AsyncGenerator<Uint8Array> {
  const flags = header[4] ?? 0;
  yield header;
  for (let last = false; !last;) {
    const block = await readExactly(reader, 3);
    yield block;
    const word = (block[0] ?? 0) | ((block[1] ?? 0) << 8) | ((block[2] ?? 0) << 16);
    last = (word & 1) === 1;
    const isRunLength = ((word >> 1) & 3) === 1;
    yield* reader.stream(isRunLength ? 1 : word >> 3, cutShort);
  }
  const hasChecksum = (flags & 4) !== 0;
  if (hasChecksum) yield await readExactly(reader, 4);
}

/** Joins chunks. Otherwise the header and the content of each block would be two calls of the decoder. */
async function* gathered(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes < inputChunkBytes) continue;
    yield Buffer.concat(chunks);
    chunks = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(chunks);
}

function headerBytes(flags: number): number {
  const windowBytes = isSingleSegment(flags) ? 0 : 1;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0;
  return 5 + windowBytes + dictionaryBytes + contentSizeBytes(flags);
}

function contentSizeBytes(flags: number): number {
  return [isSingleSegment(flags) ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
}

function isSingleSegment(flags: number): boolean {
  return (flags & 0x20) !== 0;
}

/** The size of the window in a frame's header. The decoder must hold a window in memory. */
function windowBytesOf(header: Uint8Array): number {
  const flags = header[4] ?? 0;
  if (isSingleSegment(flags)) {
    const size = header.subarray(header.length - contentSizeBytes(flags));
    // a size of two bytes is stored as 256 less: too little to matter here
    return size.reduceRight((total, byte) => total * 256 + byte, 0);
  }
  const descriptor = header[5] ?? 0;
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function checkWindow(windowBytes: number, maxWindowBytes: number, why = ""): void {
  if (windowBytes <= maxWindowBytes) return;
  const expected = maxWindowBytes;
  throw limitExceeded(`${cannot}: it needs a window of ${windowBytes} bytes${why}`, { found: windowBytes, expected });
}

/** Uses Node's native decoder (from Node 22.15 on), or else a decoder in JavaScript at a third of its speed. */
function decodeFrame(frame: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  // block by block: decoding a whole frame may take long
  if (!hasNativeZstd(zlib)) return through(frame, createFzstdTransform(), explain);
  const decoder = zlib.createZstdDecompress({
    chunkSize: outputChunkBytes,
    params: { [zlib.constants.ZSTD_d_windowLogMax]: maxWindowLog },
  });
  return through(gathered(frame), decoder, explain);
}

function createFzstdTransform(): Transform {
  const decoder = new Fzstd((chunk) => transform.push(chunk));
  const attempt = (push: () => void, done: (error?: Error) => void): void => {
    try {
      push();
    } catch (error) {
      return done(new Error(messageOf(error)));
    }
    setImmediate(done); // a hostile body must not stop all other requests
  };
  const transform = new Transform({
    transform: (chunk: Uint8Array, _encoding, done) => attempt(() => void decoder.push(chunk), done),
    flush: (done) => attempt(() => void decoder.push(new Uint8Array(0), true), done),
  });
  return transform;
}

interface NativeZstd {
  createZstdDecompress(options: { chunkSize: number; params: Record<number, number> }): Transform;
  readonly constants: { readonly ZSTD_d_windowLogMax: number };
}

function hasNativeZstd(module: object): module is NativeZstd {
  return "createZstdDecompress" in module;
}

async function readExactly(reader: ByteReader, count: number): Promise<Uint8Array> {
  const bytes = await reader.read(count);
  if (bytes.length < count) throw cutShort();
  return bytes;
}

function isMagic(word: number): boolean {
  return word === frameMagic || (word & 0xfffffff0) >>> 0 === skippableMagic;
}

function uint32(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(offset, true);
}

function cutShort(): StowageError {
  return invalid("it ends in the middle of a frame");
}

function explain(error: unknown): StowageError {
  return invalid(messageOf(error), error);
}

function invalid(reason: string, cause?: unknown): StowageError {
  return new StowageError("ARCHIVE_INVALID", `${cannot}: ${reason}`, { cause });
}
