/**
 * Commit: the one step that others can see. A repository's index is one object, moved by compare and swap, by writers who
 * share no memory and may die, or go without an answer, at any point.
 */
import { type Clock, systemClock } from "../clock.ts";
import type { ChangeSet, ChangeSetOutcome } from "../oci/index-change.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { combine } from "./combine.ts";
import { commitAlone } from "./commit-alone.ts";
import { newCommitId } from "./commit-id.ts";

export interface CommitOptions {
  readonly store: ObjectStore;
  readonly clock?: Clock | undefined;
}

/** A commit under way. */
export interface Commit {
  readonly id: string;
  readonly repository: string;
  readonly sets: readonly ChangeSet[];
  readonly store: ObjectStore;
  readonly clock: Clock;
}

/**
 * Makes all changes in one conditional write, alone if it can, together with others if they race. Returns what became of
 * each set. Throws `STORE_UNAVAILABLE` if it cannot be known whether they were made, and what a store has refused.
 */
export async function commitChanges(
  repository: string,
  sets: readonly ChangeSet[],
  { store, clock = systemClock }: CommitOptions,
): Promise<readonly ChangeSetOutcome[]> {
  const commit: Commit = { id: newCommitId(clock), repository, sets, store, clock };
  const alone = await commitAlone(commit);
  return "outcomes" in alone ? alone.outcomes : combine(commit, alone.lost);
}
