/** What somebody sees who has left an intent: the index, and then the intents that wait beside it. */
import type { ChangeSetOutcome } from "../../oci/index-change.ts";
import type { Commit } from "./commit-changes.ts";
import { type IndexState, readIndex } from "./index-state.ts";
import { type ListedIntent, isLate, listIntents } from "./intent.ts";

/** What a look at the store shows. */
export interface Sight {
  readonly state: IndexState;
  /** What became of the own changes, if that is known. */
  readonly outcomes: readonly ChangeSetOutcome[] | undefined;
  readonly listed: readonly ListedIntent[];
  /** Those that have no outcome yet and may be merged: the own one, and those whose time is not over. */
  readonly waiting: readonly ListedIntent[];
}

/** Lists after it has read, never before: the argument in `combine.ts` hangs on that. `lastSeen` spares the read. */
export async function look(commit: Commit, lastSeen: IndexState | undefined): Promise<Sight> {
  const { id, store, repository, clock, memory } = commit;
  const state = lastSeen ?? (await readIndex(store, repository, memory));
  const { applied } = state.index;
  const outcomes = applied.get(id);
  const listed = outcomes === undefined ? await listIntents(commit) : [];
  const open = listed.filter((intent) => !applied.has(intent.id));
  const waiting = open.filter((intent) => intent.id === id || !isLate(intent.id, clock));
  return { state, outcomes, listed, waiting };
}
