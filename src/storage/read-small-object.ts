/** Reads a small object whole: an index or a manifest. */
import { limitExceeded } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

/** An object of up to this many bytes takes so little memory that nobody counts it. */
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

/** An object that was looked at and not read. */
export interface UnreadObject {
  readonly bytes?: undefined;
  /** Length in bytes. */
  readonly size: number;
}

/** The bytes of an object with its ETag, or undefined if it is not there. Throws `LIMIT_EXCEEDED` if it is too large. */
export async function readSmallObject(
  store: StoreReader,
  key: string,
  options: ReadSmallOptions,
): Promise<SmallObject | undefined> {
  const { memory } = options;
  const mayRead = (size: number): boolean => memory === undefined || size <= smallObjectBytes || memory.tryHold(size);
  for (;;) {
    const found = await readIfAllowed(store, key, { ...options, mayRead });
    if (found === undefined || found.bytes !== undefined) return found;
    await memory?.hold(found.size); // without a connection to the store
  }
}

interface ReadIfAllowedOptions extends CallOptions {
  readonly maxBytes: number;
  /** May an object of this size be read now? */
  readonly mayRead: (size: number) => boolean;
}

/** As `readSmallObject`, but does not read the bytes if `mayRead` says no to an object of this size. */
async function readIfAllowed(
  store: StoreReader,
  key: string,
  { maxBytes, signal, mayRead }: ReadIfAllowedOptions,
): Promise<SmallObject | UnreadObject | undefined> {
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  const { size, etag } = object;
  if (size <= maxBytes && mayRead(size)) return { bytes: await collectBytes(object.body, size), etag };
  await object.body[Symbol.asyncIterator]().return?.();
  if (size <= maxBytes) return { size };
  throw limitExceeded(`Cannot read "${key}": it has ${size} bytes`, { key, found: size, expected: maxBytes });
}
