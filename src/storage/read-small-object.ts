/** Reads a small object whole: an index or a manifest. */
import { StowageError } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

/** An object of up to this many bytes takes so little memory that nobody counts it. */
export const smallObjectBytes = 64 * 1024;

/** Memory for one object at a time. */
export interface Memory {
  /** Takes memory, if there is enough at once. Returns whether there was. */
  tryHold(bytes: number): Promise<boolean>;
  /** Waits for enough. */
  hold(bytes: number): Promise<void>;
}

export interface ReadSmallOptions extends CallOptions {
  readonly maxBytes: number;
  /** Where a larger object than `smallObjectBytes` takes its memory from, before it is read. */
  readonly memory?: Memory | undefined;
}

/** The bytes of an object with its ETag, or undefined if it is not there. Throws `LIMIT_EXCEEDED` if it is too large. */
export async function readSmallObject(
  store: StoreReader,
  key: string,
  { maxBytes, memory, signal }: ReadSmallOptions,
): Promise<{ readonly bytes: Uint8Array; readonly etag: string } | undefined> {
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  if (object.size <= maxBytes) {
    const isEnough = memory === undefined || object.size <= smallObjectBytes || (await memory.tryHold(object.size));
    if (isEnough) return { bytes: await collectBytes(object.body, object.size), etag: object.etag };
  }
  await object.body[Symbol.asyncIterator]().return?.();
  if (memory !== undefined && object.size <= maxBytes) {
    await memory.hold(object.size); // without a connection to the store
    return readSmallObject(store, key, { maxBytes: object.size, signal });
  }
  throw new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot read "${key}": it has ${object.size} bytes, at most ${maxBytes} are allowed`,
    {
      detail: { key, found: object.size, expected: maxBytes },
    },
  );
}
