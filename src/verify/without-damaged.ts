/** A view of a store in which some objects are not there. */
import type { StoreReader } from "../storage/object-store.ts";

/** Hides objects; all others are there as before. */
export function hideObjects(store: StoreReader, hidden: ReadonlySet<string>): StoreReader {
  return {
    head: async (key, options) => (hidden.has(key) ? undefined : store.head(key, options)),
    get: async (key, options) => (hidden.has(key) ? undefined : store.get(key, options)),
  };
}
