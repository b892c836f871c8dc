/**
 * The bytes of an open file, or of a range of it. The file is closed with the last byte, when the reader leaves, or when the
 * signal fires: also if no reader ever comes.
 */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { StowageError } from "../../errors.ts";
import { guarded } from "./file-errors.ts";
import type { CallOptions } from "../object-store.ts";

/** Length of the chunks. */
export const fileReadBytes = 256 * 1024;
/** Length of the first one; each is twice as long as the one before. Servers read several chunks ahead of a slow client. */
const firstReadBytes = 32 * 1024;

export interface FileRange extends CallOptions {
  readonly start: number;
  /** The first byte that is not read any more. */
  readonly stop: number;
  /** For messages: what is being done, such as `read "index.json" in file:./data`. */
  readonly doing: string;
}

/** An iterator, and no generator: `return` of a generator that has not begun would not close the file. */
export class FileBody implements AsyncIterableIterator<Uint8Array> {
  readonly #file: FileHandle;
  readonly #stop: number;
  readonly #doing: string;
  readonly #signal: AbortSignal | undefined;
  #position: number;
  #readBytes = firstReadBytes;
  #closed = false;

  constructor(file: FileHandle, { start, stop, doing, signal }: FileRange) {
    this.#file = file;
    this.#position = start;
    this.#stop = stop;
    this.#doing = doing;
    this.#signal = signal;
    if (signal?.aborted === true) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    try {
      this.#signal?.throwIfAborted();
      if (this.#closed) return { done: true, value: undefined };
      const chunk = await this.#read();
      if (this.#position >= this.#stop) await this.#close();
      return chunk.length === 0 ? { done: true, value: undefined } : { done: false, value: chunk };
    } catch (error) {
      await this.#close();
      throw error;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    await this.#close();
    return { done: true, value: undefined };
  }

  async #read(): Promise<Uint8Array> {
    const length = Math.max(0, Math.min(this.#readBytes, this.#stop - this.#position));
    this.#readBytes = Math.min(2 * this.#readBytes, fileReadBytes);
    if (length === 0) return new Uint8Array();
    const chunk = Buffer.allocUnsafe(length);
    const { bytesRead } = await guarded(this.#doing, () => this.#file.read(chunk, 0, length, this.#position));
    if (bytesRead === 0) {
      const message = `Cannot ${this.#doing}: it ends after ${this.#position} bytes, expected ${this.#stop}`;
      throw new StowageError("STORE_DAMAGED", message);
    }
    this.#position += bytesRead;
    return chunk.subarray(0, bytesRead);
  }

  /** Its reader, if there is one, is told by the signal. */
  readonly #onAbort = (): void => void this.#close().catch(() => undefined);

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    await this.#file.close();
  }
}
