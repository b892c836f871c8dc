/**
 * Large chunks for the fastest answers. An answer with large chunks takes less CPU time and more memory: up to two
 * chunks wait for its client. So only a few answers get them, and only while their clients read fast.
 */
import { usualChunkBytes } from "../storage/object-store.ts";
import type { Line, Release } from "../streams/line.ts";

const largeChunkBytes = 1024 * 1024;
/** The pace of an answer with small chunks is measured over this many bytes. */
const windowBytes = 1024 * 1024;
/**
 * The pace of an answer with large chunks is measured over this many bytes. On a busy machine this process often waits
 * longer for the CPU than a fast client needs for 1 MiB.
 */
const largeWindowBytes = 4 * 1024 * 1024;
/** A slower client reads small chunks. */
const minBytesPerMs = 32 * 1024;

/** The chunks of one answer. */
export class ChunkRoom {
  /** The largest chunk that the answer has memory for. */
  readonly chunkBytes = (): number => (this.#release === undefined ? usualChunkBytes : largeChunkBytes);
  readonly #rooms: Line;
  readonly #caller: string;
  #release: Release | undefined;
  #bytes = 0;
  #sinceMs = performance.now();

  /** One unit of `rooms` is the memory for the large chunks of one answer. */
  constructor(rooms: Line, caller: string) {
    this.#rooms = rooms;
    this.#caller = caller;
  }

  /** Counts bytes that the client has read. */
  count(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < (this.#release === undefined ? windowBytes : largeWindowBytes)) return;
    const now = performance.now();
    const isFast = this.#bytes >= minBytesPerMs * (now - this.#sinceMs);
    this.#bytes = 0;
    this.#sinceMs = now;
    if (isFast) this.#release ??= this.#rooms.tryAcquire(1, { caller: this.#caller });
    else this.leave();
  }

  leave(): void {
    this.#release?.();
    this.#release = undefined;
  }
}
