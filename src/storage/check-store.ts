/** Small reads that tell what is wrong with a store before it is used: it cannot be reached, or nobody has written one there. */
import { StowageError } from "../errors.ts";
import { defaultRepository } from "../oci/reference.ts";
import { orAbort } from "../streams/or-abort.ts";
import { withinSeconds } from "../streams/within-seconds.ts";
import { blobsPrefix, indexKey, layoutKey, repositoriesPrefix } from "./keys.ts";
import type { CallOptions, ObjectStore, StoreReader } from "./object-store.ts";

/** More than the 10 seconds that the SDK waits for a connection, whose error says more. */
const maxSeconds = 12;

/**
 * Reads `oci-layout`, which need not be there: a store may be empty. Not by `head`: a missing bucket has a name only in the
 * body of an answer. Throws `STORE_UNAVAILABLE` with what is wrong.
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
