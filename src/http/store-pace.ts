/** How fast the store brings the bytes of a blob, and whether the client waits for them. */

/** The pace of a connection is measured over this many bytes. */
const paceBytes = 2 * 1024 * 1024;
/**
 * The rest of a blob is read by several connections if one connection is slower (100 MB/s), and the client waits for
 * it.
 */
const slowBytesPerMs = 100_000;
/**
 * A larger chunk had come before it was read, so its wait does not count: the process was busy, the store was not slow.
 * On a busy machine several connections cost CPU time and bring no more bytes.
 */
const backlogBytes = 256 * 1024;

export class StorePace {
  /** In the last full window, the client has waited most of the time, and the store was slow. */
  isSlow = false;
  bytesPerMs = 0;
  #sinceMs = performance.now();
  #bytes = 0;
  #waitMs = 0;

  count(bytes: number, waitMs: number): void {
    this.#bytes += bytes;
    if (bytes <= backlogBytes) this.#waitMs += waitMs;
    if (this.#bytes < paceBytes) return;
    const now = performance.now();
    const ms = now - this.#sinceMs;
    this.bytesPerMs = this.#bytes / ms;
    this.isSlow = this.#waitMs > ms / 2 && this.bytesPerMs < slowBytesPerMs;
    this.#sinceMs = now;
    this.#bytes = 0;
    this.#waitMs = 0;
  }
}
