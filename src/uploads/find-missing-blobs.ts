/** Which blobs the store does not have, so that a client sends a tarball without the rest. */
import { setMaxListeners } from "node:events";
import { systemClock } from "../clock.ts";
import { RescuingStore } from "../marks/rescuing-store.ts";
import { blobKey } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface FindMissingOptions {
  readonly store: ObjectStore;
  readonly budget: ByteBudget;
  readonly caller: string;
  readonly signal: AbortSignal;
}

/** As many as a load has under way at a time. */
const maxPendingHeads = 32;

/**
 * Those of the digests, `sha256:<64 hex>`, that are not there, in their order, each once. All others stay at least for the
 * shortest grace of a gc: one that was condemned is rescued.
 */
export async function findMissingBlobs(
  digests: readonly string[],
  { store, budget, caller, signal }: FindMissingOptions,
): Promise<readonly string[]> {
  setMaxListeners(0, signal); // each question that waits listens to it
  const rescuing = new RescuingStore(store, { clock: systemClock });
  const present = new Set<string>();
  const distinct = [...new Set(digests)];
  await concurrently(distinct, maxPendingHeads, async (digest) => {
    const found = await budget.ask(async () => rescuing.head(blobKey(digest), { signal }), { caller, signal });
    if (found !== undefined) present.add(digest);
  });
  return distinct.filter((digest) => !present.has(digest));
}
