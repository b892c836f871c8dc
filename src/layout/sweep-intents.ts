/**
 * Deletes the intents of dead writers. Whoever merges in a race does that as well, in one repository; but the race in which a
 * writer was killed may have been the last there.
 */
import type { Clock } from "../clock.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { isCommitId } from "./index/commit.ts";
import { isAbandoned } from "./index/intent.ts";
import { allIntentsPrefix } from "./keys.ts";

export interface SweepOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** Deletes what is abandoned; what has another name was not left by a commit. */
export async function sweepIntents({ store, clock, signal }: SweepOptions): Promise<void> {
  for await (const { key } of store.list(allIntentsPrefix, { signal })) {
    const id = key.slice(key.lastIndexOf("/") + 1);
    if (isCommitId(id) && isAbandoned(id, clock)) await store.delete(key, { signal });
  }
}
