/** Reads a small object whole: an index or a manifest. */
import { StowageError } from "../errors.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import type { CallOptions, StoreReader } from "./object-store.ts";

export interface ReadSmallOptions extends CallOptions {
  readonly maxBytes: number;
}

/** The bytes of an object with its ETag, or undefined if it is not there. Throws `LIMIT_EXCEEDED` if it is too large. */
export async function readSmallObject(
  store: StoreReader,
  key: string,
  { maxBytes, signal }: ReadSmallOptions,
): Promise<{ readonly bytes: Uint8Array; readonly etag: string } | undefined> {
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  if (object.size <= maxBytes) return { bytes: await collectBytes(object.body, object.size), etag: object.etag };
  await object.body[Symbol.asyncIterator]().return?.();
  throw new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot read "${key}": it has ${object.size} bytes, at most ${maxBytes} are allowed`,
    {
      detail: { key, found: object.size, expected: maxBytes },
    },
  );
}
