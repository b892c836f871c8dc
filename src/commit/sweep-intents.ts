/**
 * Deletes the intents of dead writers. Whoever merges in a race does that as well, in one repository; but the race in which a
 * writer was killed may have been the last there.
 */
import type { Clock } from "../clock.ts";
import { allIntentsPrefix } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { isCommitId, timeOfCommit } from "./commit-id.ts";

/**
 * No writer waits for so long for what becomes of its intent, nor may anybody still merge it: by whichever clock its deadline
 * is over. So it makes no difference to anybody that it goes.
 */
const abandonedMs = 60 * 60_000;

export interface SweepOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** Deletes what is older than an hour; what has another name was not left by a commit. */
export async function sweepIntents({ store, clock, signal }: SweepOptions): Promise<void> {
  for await (const { key } of store.list(allIntentsPrefix, { signal })) {
    const id = key.slice(key.lastIndexOf("/") + 1);
    if (isCommitId(id) && clock.now() - timeOfCommit(id) > abandonedMs) await store.delete(key, { signal });
  }
}
