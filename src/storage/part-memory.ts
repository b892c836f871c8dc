/**
 * The memory for the parts of one stream: one part is filled while the others are sent. The memory of a sent part is
 * used again, or freed at once: large garbage costs time, and fills a small process.
 */
import { Buffer } from "node:buffer";
import { freeChunk, freeMemory } from "../streams/chunk-memory.ts";
import type { TakeMore } from "./object-store.ts";

export interface PartMemoryOptions {
  /** Bytes of each part except the last. */
  readonly partBytes: number;
  /** Parts that the caller holds memory for. At least two. */
  readonly leastParts: number;
  /** Parts in memory at once. By default there is no limit but memory. */
  readonly maxParts?: number | undefined;
  /** Parts beside `leastParts` are filled only while this gives memory for them. */
  readonly takeMore?: TakeMore | undefined;
}

/** A part that is ready to be sent. */
export interface FilledPart {
  /** Counted from 0. */
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
  /**
   * Gives the memory back. A part that `isUnused` is read by nobody any more. A request that has failed may still read
   * its part.
   */
  readonly free: (isUnused: boolean) => void;
}

/** Memory for one part. */
interface PartBuffer {
  readonly bytes: Uint8Array;
  readonly free: FilledPart["free"];
}

export class PartMemory {
  readonly #options: PartMemoryOptions;
  /** Parts in the memory that the caller holds (`leastParts`). */
  #heldParts = 0;
  /** Parts in the memory that `takeMore` has given. */
  #moreParts = 0;
  readonly #spare: Uint8Array[] = [];
  #isFilled = false;
  #wake: () => void = () => undefined;

  constructor(options: PartMemoryOptions) {
    this.#options = options;
  }

  /**
   * Copies a stream into parts. A full part is yielded only when the byte after it has come: the last part must be
   * known as the last.
   */
  async *fill(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<FilledPart> {
    const { partBytes } = this.#options;
    let index = 0;
    let filled = 0;
    let part = await this.#take();
    try {
      for await (const chunk of chunks) {
        for (let at = 0; at < chunk.length;) {
          if (filled === partBytes) {
            yield { ...part, index: index++, isLast: false };
            part = await this.#take();
            filled = 0;
          }
          const taken = Math.min(partBytes - filled, chunk.length - at);
          part.bytes.set(taken === chunk.length ? chunk : chunk.subarray(at, at + taken), filled);
          filled += taken;
          at += taken;
        }
        freeChunk(chunk);
      }
    } catch (error) {
      part.free(true);
      throw error;
    }
    this.#isFilled = true;
    for (const spare of this.#spare.splice(0)) freeMemory(spare);
    yield { ...part, bytes: part.bytes.subarray(0, filled), index, isLast: true };
  }

  /** Waits for a sent part if there is no more memory. */
  async #take(): Promise<PartBuffer> {
    for (;;) {
      const release = this.#takeMemory();
      if (release !== undefined) {
        const bytes = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#options.partBytes);
        return { bytes, free: (isUnused) => this.#free(bytes, isUnused, release) };
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #takeMemory(): (() => void) | undefined {
    const { partBytes, leastParts, maxParts = Infinity, takeMore } = this.#options;
    if (this.#heldParts < leastParts) {
      this.#heldParts++;
      return () => void this.#heldParts--;
    }
    const release = this.#moreParts < maxParts - leastParts ? takeMore?.(partBytes) : undefined;
    if (release === undefined) return undefined;
    this.#moreParts++;
    return () => {
      this.#moreParts--;
      release();
    };
  }

  #free(bytes: Uint8Array, isUnused: boolean, release: () => void): void {
    release();
    if (isUnused && !this.#isFilled && this.#spare.length < this.#options.leastParts) this.#spare.push(bytes);
    else if (isUnused) freeMemory(bytes);
    this.#wake();
  }
}
