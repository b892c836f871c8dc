/**
 * Commit: the one step that others can see. A repository's index is one object, moved by compare and swap, by writers who
 * share no memory and may die, or go without an answer, at any point.
 */
import { type Clock, systemClock } from "../../clock.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { ByteBudget } from "../../streams/byte-budget.ts";
import { combine } from "./combine.ts";
import { commitAlone } from "./commit-alone.ts";
import { type Commit, newCommitId } from "./commit.ts";

/**
 * After so long a writer sends its changes no more: what they rest on, blobs that a load has found, may be gone. Only one who
 * was held up comes to that. With the minute that an intent may wait this is what `marks/mark.ts` reckons with.
 */
export const maxCommitMs = 4 * 60_000;

export interface CommitOptions {
  readonly store: ObjectStore;
  readonly clock?: Clock | undefined;
  /** The memory in which large indexes are changed. Without it, they are changed at once. */
  readonly budget?: ByteBudget | undefined;
  /** Whom that memory is held for. */
  readonly caller?: string | undefined;
  /** Until when the changes may be sent, in milliseconds since 1970; without it for `maxCommitMs` from now on. */
  readonly deadline?: number | undefined;
}

/**
 * Makes all changes in one conditional write, alone if it can, together with others if they race. Returns what became of
 * each set. Throws `STORE_UNAVAILABLE` if it cannot be known whether they were made, and what a store has refused.
 */
export async function commitChanges(
  repository: string,
  sets: readonly ChangeSet[],
  { store, clock = systemClock, budget, caller, deadline = clock.now() + maxCommitMs }: CommitOptions,
): Promise<readonly ChangeSetOutcome[]> {
  const memory = budget?.commitMemory({ caller, signal: AbortSignal.any([]) });
  try {
    return await commitIn({ id: newCommitId(clock), repository, sets, store, clock, deadline, memory });
  } finally {
    memory?.release();
  }
}

async function commitIn(commit: Commit): Promise<readonly ChangeSetOutcome[]> {
  const { sets, clock, deadline } = commit;
  const alone = await commitAlone(commit);
  if ("outcomes" in alone) return alone.outcomes;
  if (clock.now() > deadline) return sets.map(() => ({ failed: "expired" }));
  const { lost, began } = alone;
  return combine({ ...commit, sets: sets.map((set) => ({ ...set, began })) }, lost);
}
