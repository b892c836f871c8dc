/** A view of a store that knows which of its objects are damaged. */
import { StowageError } from "../errors.ts";
import { digestOfBlobKey } from "../storage/keys.ts";
import type { StoreReader } from "../storage/object-store.ts";

/** To `head` a damaged object is not there; `get` of one throws `STORE_DAMAGED`. All others are there as before. */
export function withoutDamaged(store: StoreReader, damaged: ReadonlySet<string>): StoreReader {
  return {
    head: async (key, options) => (damaged.has(key) ? undefined : store.head(key, options)),
    get: async (key, options) => {
      if (!damaged.has(key)) return store.get(key, options);
      throw new StowageError("STORE_DAMAGED", `"${key}" is damaged`, { detail: { digest: digestOfBlobKey(key) } });
    },
  };
}
