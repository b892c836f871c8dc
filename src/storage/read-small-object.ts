/** Reads a small object whole: an index or a manifest. */
import { limitExceeded } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

/** The memory of an object of up to this many bytes is not counted. */
export const smallObjectBytes = 64 * 1024;

/** Memory for one object at a time. */
export interface Memory {
  /** Takes memory if enough is free now. Returns whether the memory is held. */
  tryHold(bytes: number): boolean;
  /** Waits for enough memory. */
  hold(bytes: number): Promise<void>;
}

export interface ReadSmallOptions extends CallOptions {
  readonly maxBytes: number;
  /** An object above `smallObjectBytes` takes its memory from here before it is read. */
  readonly memory?: Memory | undefined;
}

interface SmallObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

/**
 * The bytes of an object with its ETag. Undefined if there is no object. Throws `LIMIT_EXCEEDED` if it is too large.
 */
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
    await memory?.hold(size); // no connection to the store is held meanwhile
  }
}
