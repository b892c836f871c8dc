/** Reads a small object whole: an index or a manifest. */
import { limitExceeded } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

/** An object of up to this many bytes is read without a count of its memory. */
export const smallObjectBytes = 64 * 1024;

/** Memory for one object at a time. */
export interface Memory {
  /** Takes memory, if there is enough at once. Returns whether it is held now. */
  tryHold(bytes: number): boolean;
  /** Waits for enough. */
  hold(bytes: number): Promise<void>;
}

export interface ReadSmallOptions extends CallOptions {
  readonly maxBytes: number;
  /** Where a larger object than `smallObjectBytes` takes its memory from, before it is read. */
  readonly memory?: Memory | undefined;
}

export interface SmallObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/** The bytes of an object with its ETag, or undefined if it is not there. Throws `LIMIT_EXCEEDED` if it is too large. */
export async function readSmallObject(
  store: StoreReader,
  key: string,
  options: ReadSmallOptions,
): Promise<SmallObject | undefined> {
  const { maxBytes, memory, signal } = options;
  for (;;) {
    const object = await store.get(key, { signal });
    if (object === undefined) return undefined;
    const { size, etag, body } = object;
    const isSmall = memory === undefined || size <= smallObjectBytes;
    if (size <= maxBytes && (isSmall || memory.tryHold(size))) return { bytes: await collectBytes(body, size), etag };
    await body[Symbol.asyncIterator]().return?.();
    if (size > maxBytes) {
      throw limitExceeded(`Cannot read "${key}": it has ${size} bytes`, { key, found: size, expected: maxBytes });
    }
    await memory?.hold(size); // without a connection to the store
  }
}
