/** Finds the blobs that the store does not have, so that a client can leave out the others. */
import type { Digest } from "../digest.ts";
import { RescuingStore } from "../layout/condemned.ts";
import { headBlob } from "../layout/blobs.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { concurrently } from "../streams/concurrently.ts";

/** As many blobs as a load writes at the same time. */
const maxPendingHeads = 32;

/**
 * Returns the digests that the store lacks, in order, each once. All other blobs stay in the store at least
 * for the shortest grace time of a gc: condemned blobs are rescued.
 */
export async function findMissingBlobs(
  { store, clock, budget }: Layout,
  digests: readonly Digest[],
  { caller, signal = AbortSignal.any([]) }: Turn,
): Promise<readonly Digest[]> {
  const rescuing = new RescuingStore(store, clock);
  const present = new Set<Digest>();
  const distinct = [...new Set(digests)];
  await concurrently(distinct, maxPendingHeads, async (digest) => {
    const found = await budget.ask(async () => headBlob(rescuing, digest, { signal }), { caller, signal });
    if (found !== undefined) present.add(digest);
  });
  return distinct.filter((digest) => !present.has(digest));
}
