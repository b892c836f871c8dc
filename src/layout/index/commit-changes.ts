/**
 * Commits changes to a repository's index. This is the only step of a load that others can see. The index is one
 * object. Writers move it by compare and swap. They share no memory, and at any point a writer may die or get no
 * answer.
 */
import { type Clock, systemClock } from "../../clock.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { ByteBudget } from "../../streams/byte-budget.ts";
import { combine } from "./combine.ts";
import { commitAlone } from "./commit-alone.ts";
import { newCommitId } from "./commit.ts";

/**
 * After this time a writer does not send its changes any more: a gc may have deleted the blobs that the load had found.
 * Only a writer that was held up takes so long. This time and the minute that an intent may wait together are
 * `commitMs` in `layout/marks.ts`.
 */
export const maxCommitMs = 4 * 60_000;

export interface CommitOptions {
  readonly store: ObjectStore;
  readonly clock?: Clock | undefined;
  /** The memory for changes of large indexes. Without a budget, a commit does not wait for memory. */
  readonly budget?: ByteBudget | undefined;
  /** The memory counts for this caller. */
  readonly caller?: string | undefined;
  /** The changes are not sent after this time, in milliseconds since 1970. The default is `maxCommitMs` from now on. */
  readonly deadline?: number | undefined;
  /** Called at the end of a commit that had something to write, with the number of its tries to write the index. */
  readonly onCommit?: ((tries: number) => void) | undefined;
}

/**
 * Makes all changes in one conditional write: alone, or together with other writers after a lost race or if the
 * repository is busy. Returns the outcome of each set. Throws `STORE_UNAVAILABLE` if it is not known whether the
 * changes were made, and the error of a store that refuses a write.
 */
export async function commitChanges(
  repository: string,
  sets: readonly ChangeSet[],
  { store, clock = systemClock, budget, caller, deadline = clock.now() + maxCommitMs, onCommit }: CommitOptions,
): Promise<readonly ChangeSetOutcome[]> {
  const memory = budget?.commitMemory({ caller });
  let tries = 0;
  const onTry = (): void => void (tries += 1);
  try {
    const commit = { id: newCommitId(clock), repository, sets, store, clock, deadline, memory, onTry };
    const alone = await commitAlone(commit);
    if ("outcomes" in alone) return alone.outcomes;
    if (clock.now() > deadline) return sets.map(() => ({ failed: "expired" }));
    const { lastSeen, began } = alone;
    return await combine({ ...commit, sets: sets.map((set) => ({ ...set, began })) }, lastSeen);
  } finally {
    if (tries > 0) onCommit?.(tries);
    memory?.release();
  }
}
