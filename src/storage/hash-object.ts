/** Hashes an object of any size while it is read. */
import { type Algorithm, type Digest, Digester } from "../digest.ts";
import { abortable } from "../streams/abortable.ts";
import type { CallOptions, StoredObject } from "./object-store.ts";

export interface HashedObject {
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
}

/** Reads the object to its end. `onBytes` is called with the length of each chunk. */
export async function hashObject(
  { body }: StoredObject,
  algorithm: Algorithm,
  { signal, onBytes }: CallOptions & { readonly onBytes?: ((bytes: number) => void) | undefined } = {},
): Promise<HashedObject> {
  const digester = new Digester(algorithm);
  let size = 0;
  for await (const chunk of abortable(body, signal)) {
    digester.update(chunk);
    size += chunk.length;
    onBytes?.(chunk.length);
  }
  return { digest: digester.digest(), size };
}
