/** Reads a small object whole: an index or a manifest. */
import { StowageError } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

export interface ReadSmallOptions extends CallOptions {
  readonly maxBytes: number;
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
  const found = await readIfAllowed(store, key, { ...options, mayRead: () => true });
  return found?.bytes && found;
}

/** As `readSmallObject`, but does not read the bytes if `mayRead` says no to an object of this size. */
export async function readIfAllowed(
  store: StoreReader,
  key: string,
  { maxBytes, signal, mayRead }: ReadSmallOptions & { readonly mayRead: (size: number) => boolean },
): Promise<SmallObject | UnreadObject | undefined> {
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  const { size, etag } = object;
  if (size <= maxBytes && mayRead(size)) return { bytes: await collectBytes(object.body, size), etag };
  await object.body[Symbol.asyncIterator]().return?.();
  if (size <= maxBytes) return { size };
  throw new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot read "${key}": it has ${size} bytes, at most ${maxBytes} are allowed`,
    {
      detail: { key, found: size, expected: maxBytes },
    },
  );
}
