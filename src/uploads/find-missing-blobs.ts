/** Which blobs the store does not have, so that a client sends a tarball without the rest. */
import { blobKey } from "../storage/keys.ts";
import type { StoreReader } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface FindMissingOptions {
  readonly store: StoreReader;
  readonly signal?: AbortSignal | undefined;
}

/** As many as a load has under way at a time. */
const maxPendingHeads = 32;

/** Those of the digests, `sha256:<64 hex>`, that are not there, in their order, each once. */
export async function findMissingBlobs(
  digests: readonly string[],
  { store, signal }: FindMissingOptions,
): Promise<readonly string[]> {
  const present = new Set<string>();
  const distinct = [...new Set(digests)];
  await concurrently(distinct, maxPendingHeads, async (digest) => {
    if ((await store.head(blobKey(digest), { signal })) !== undefined) present.add(digest);
  });
  return distinct.filter((digest) => !present.has(digest));
}
