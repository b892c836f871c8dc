/**
 * Deletes unfinished work: the objects under `staging/` of killed loads and of abandoned uploads. Also deletes old
 * exported tarballs.
 */
import { concurrently } from "../streams/concurrently.ts";
import { skewMs } from "./marks.ts";
import { stagingPrefix } from "./keys.ts";
import type { Layout } from "./layout.ts";

/**
 * Older objects are deleted, even if their upload still goes on. The lifecycle rules of `infra/` have the same time.
 */
const maxStagedMs = 2 * 24 * 60 * 60 * 1000;
const maxConcurrentDeletes = 16;

interface Sweep {
  /** Changes nothing. */
  readonly isDryRun: boolean;
  readonly signal: AbortSignal | undefined;
  /** Called for each object that is deleted, with its length in bytes. */
  readonly onDelete: (bytes: number) => void;
}

/** The age of an object is by the clock of the store, which may differ from the clock of this process. */
export async function sweepStaging(
  { store, clock }: Pick<Layout, "store" | "clock">,
  { isDryRun, signal, onDelete }: Sweep,
): Promise<void> {
  const oldestMs = clock.now() - maxStagedMs - skewMs;
  await concurrently(store.list(stagingPrefix, { signal }), maxConcurrentDeletes, async ({ key, size, modifiedMs }) => {
    if (modifiedMs >= oldestMs) return;
    if (!isDryRun) await store.delete(key, { signal });
    onDelete(size);
  });
}
