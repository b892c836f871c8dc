/** Which blobs the store does not have, so that a client sends a tarball without the rest. */
import { systemClock } from "../clock.ts";
import { RescuingStore } from "../marks/rescuing-store.ts";
import { blobKey } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface FindMissingOptions {
  readonly store: ObjectStore;
  readonly signal?: AbortSignal | undefined;
}

/** As many as a load has under way at a time. */
const maxPendingHeads = 32;

/**
 * Those of the digests, `sha256:<64 hex>`, that are not there, in their order, each once. All others stay at least for the
 * shortest grace of a gc: one that was condemned is rescued.
 */
export async function findMissingBlobs(
  digests: readonly string[],
  { store, signal }: FindMissingOptions,
): Promise<readonly string[]> {
  const rescuing = new RescuingStore(store, { clock: systemClock });
  const present = new Set<string>();
  const distinct = [...new Set(digests)];
  await concurrently(distinct, maxPendingHeads, async (digest) => {
    if ((await rescuing.head(blobKey(digest), { signal })) !== undefined) present.add(digest);
  });
  return distinct.filter((digest) => !present.has(digest));
}
