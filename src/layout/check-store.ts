/**
 * Checks that a store can be used. One small read finds a missing bucket, wrong keys, and a server that does not
 * answer.
 */
import { StowageError } from "../errors.ts";
import { defaultRepository } from "../oci/reference.ts";
import type { CallOptions, ObjectStore, StoreReader } from "../storage/object-store.ts";
import { orAbort } from "../streams/abortable.ts";
import { withinSeconds } from "../streams/in-time.ts";
import { blobsPrefix, indexKey, layoutKey, repositoriesPrefix } from "./keys.ts";

/** The SDK waits 10 seconds for a connection. Its error says more than ours, so this limit is longer. */
const maxSeconds = 12;

/**
 * Reads `oci-layout`. An empty store passes too: it has no such object. Uses `get`, not `head`: S3 names a missing
 * bucket only in the body of an answer. Throws `STORE_UNAVAILABLE`.
 */
export async function checkStore(
  store: StoreReader & { readonly url: string },
  options: CallOptions = {},
): Promise<void> {
  const late = (): StowageError =>
    new StowageError("STORE_UNAVAILABLE", `Cannot use ${store.url}: it did not answer within ${maxSeconds} seconds`);
  await withinSeconds({ ...options, seconds: maxSeconds, late }, async (signal) => {
    const layout = await orAbort(store.get(layoutKey, { signal }), signal);
    await layout?.body[Symbol.asyncIterator]().return?.();
  });
}

/**
 * Has Stowage ever written to this store? The answer is no for a wrong path, for example. Every store has `oci-layout`.
 * A copy of a store may lack that file, so an index or a blob counts as well.
 */
export async function isStore(store: ObjectStore, options: CallOptions = {}): Promise<boolean> {
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
