/** Checks that a store can be used. One small read finds a missing bucket, wrong keys, and a server that does not answer. */
import { StowageError } from "../errors.ts";
import { defaultRepository } from "../oci/reference.ts";
import type { CallOptions, ObjectStore, StoreReader } from "../storage/object-store.ts";
import { orAbort } from "../streams/abortable.ts";
import { withinSeconds } from "../streams/in-time.ts";
import { blobsPrefix, indexKey, layoutKey, repositoriesPrefix } from "./keys.ts";

/** More than the 10 seconds that the SDK waits for a connection, whose error says more. */
const maxSeconds = 12;

/**
 * Reads `oci-layout`, which an empty store does not have. By `get`, since S3 names a missing bucket only in the body of an
 * answer. Throws `STORE_UNAVAILABLE`.
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
 * Is there a store that has been written to? A wrong path, for example, leads to none. Every store has `oci-layout`. A copy of
 * a store may lack it, and then an index or a blob tells.
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
