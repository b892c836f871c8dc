/** Tells a store from a place where none is: a path with a typing error, say, is no empty store. */
import { defaultRepository } from "../oci/reference.ts";
import { blobsPrefix, indexKey, layoutKey, repositoriesPrefix } from "./keys.ts";
import type { CallOptions, ObjectStore } from "./object-store.ts";

/**
 * Has anybody written a store there? `oci-layout` says so, as in each image layout. A copy may have been made without it: then
 * an index or a blob does.
 */
export async function isStore(store: ObjectStore, options: CallOptions = {}): Promise<boolean> {
  // Not `head`: a missing bucket has a name only in the body of an answer.
  const layout = await store.get(layoutKey, options);
  if (layout !== undefined) {
    await layout.body[Symbol.asyncIterator]().return?.();
    return true;
  }
  if ((await store.head(indexKey(defaultRepository), options)) !== undefined) return true;
  for (const prefix of [repositoriesPrefix, blobsPrefix]) {
    for await (const _ of store.list(prefix, options)) return true;
  }
  return false;
}
