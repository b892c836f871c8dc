/** Hashes an object of any size while it is read. */
import { createHash } from "node:crypto";
import { abortable } from "../streams/abortable.ts";
import type { CallOptions, StoredObject } from "./object-store.ts";

export interface HashedObject {
  readonly digest: string;
  /** Length in bytes. */
  readonly size: number;
}

/** Reads the object to its end. `onBytes` is called with the length of each chunk. */
export async function hashObject(
  { body }: StoredObject,
  { signal, onBytes }: CallOptions & { readonly onBytes?: ((bytes: number) => void) | undefined } = {},
): Promise<HashedObject> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of abortable(body, signal)) {
    hash.update(chunk);
    size += chunk.length;
    onBytes?.(chunk.length);
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}
