/** What the winner of a race does for everybody: it merges their intents into the index, in one conditional write. */
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import { smallObjectBytes } from "../../storage/read-small-object.ts";
import { concurrently } from "../../streams/concurrently.ts";
import type { Commit } from "./commit.ts";
import { type IndexState, readIndex, writeIndex } from "./index-state.ts";
import {
  type Intent,
  type ListedIntent,
  deleteIntent,
  isAbandoned,
  isLate,
  listIntents,
  maxIntentBytes,
  readIntent,
} from "./intent.ts";
import { type StaleTest, findStale, mergeWithin } from "./merge-index.ts";
import type { RepositoryIndex } from "./repository-index.ts";

/** Bytes of intents that are merged in one write; the rest waits for the next. */
const maxMergedBytes = 8 * 1024 * 1024;
export const maxConcurrentReads = 32;

type Outcomes = readonly ChangeSetOutcome[];
const expired: ChangeSetOutcome = { failed: "expired" };
const stale: ChangeSetOutcome = { failed: "expired", stale: true };

export interface Merge extends Commit, Sight {
  /** Intents that this writer knows, its own among them: they never change. */
  readonly read: Map<string, Intent>;
  /** After this time, in milliseconds since 1970, this writer does not make its own changes any more. */
  readonly until: number;
}

/** What became of the own changes, and the state of the index in which that was found or from which it was written. */
export interface Told {
  readonly outcomes: Outcomes;
  readonly state: IndexState;
}

/** Reads those of the waiting that a merge would take and this writer does not know yet. Were there any? */
export async function readIntents(merge: Merge): Promise<boolean> {
  const { read, state, memory } = merge;
  const intents = mergeable(merge);
  const bytes = intents.reduce((sum, { size }) => sum + size, 0);
  if (bytes > smallObjectBytes) await memory?.hold(state.size + bytes);
  const wanted = new Set(intents.map(({ id }) => id));
  for (const id of read.keys()) if (id !== merge.id && !wanted.has(id)) read.delete(id);
  const unknown = [...wanted].filter((id) => !read.has(id));
  await concurrently(unknown, maxConcurrentReads, async (id) => {
    const intent = await readIntent(id, merge);
    if (intent !== undefined) read.set(id, intent);
  });
  return unknown.length > 0;
}

/**
 * Merges what waits and was read, in the order of age, and returns what became of the own changes if that could be written or
 * the winner did it. Sets are compared with the index as it was before, not with each other.
 */
export async function mergeIntents(merge: Merge): Promise<Told | undefined> {
  const { id, clock, store, repository, state, listed, read, memory } = merge;
  await deleteAbandoned(merge);
  const intents = mergeable(merge).flatMap((intent) => read.get(intent.id) ?? []);
  const isStale = findStale(
    state.index,
    intents.flatMap((intent) => intent.sets),
  );
  const failures = intents.map((intent) => intent.sets.map((set) => failureOf(set, intent, { merge, isStale })));
  const sets = intents.flatMap((intent, i) => intent.sets.filter((_, at) => failures[i]?.[at] === undefined));
  const merged = mergeWithin(state.index, sets, clock.now());
  const applied = new Map(keptOutcomes(state.index, listed));
  const outcomes = merged.outcomes.values();
  for (const [i, intent] of intents.entries()) {
    applied.set(
      intent.id,
      intent.sets.map((_, at) => failures[i]?.[at] ?? outcomes.next().value ?? expired),
    );
  }
  const answer = await writeIndex({ ...merged.index, applied }, { store, repository, state, id });
  const found = answer === "written" ? state : await readIndex(store, repository, memory);
  const own = answer === "written" ? applied.get(id) : found.index.applied.get(id);
  return own && { outcomes: own, state: found };
}

interface Judge {
  readonly merge: Merge;
  readonly isStale: StaleTest;
}

/** Why a set is not made, if it is not. The own sets are not stale: their writer lives, and has just looked. */
function failureOf(set: ChangeSet, { id, seen }: Intent, { merge, isStale }: Judge): ChangeSetOutcome | undefined {
  if (id === merge.id) return merge.clock.now() > merge.until ? expired : undefined;
  return isStale(set, seen) ? stale : undefined;
}

/** Nobody merges those of dead writers any more. If their outcomes are known, the next merge forgets them. */
async function deleteAbandoned(merge: Merge): Promise<void> {
  const abandoned = merge.listed.filter(({ id }) => isAbandoned(id, merge.clock));
  await concurrently(abandoned, maxConcurrentReads, async ({ id }) => deleteIntent(id, merge));
}

/** The oldest that can be read, as many as may be merged at once; the first in any case. */
function mergeable({ waiting }: Merge): readonly ListedIntent[] {
  let bytes = 0;
  const readable = waiting.filter((intent) => intent.size <= maxIntentBytes);
  return readable.filter(({ size }, i) => (bytes += size) <= maxMergedBytes || i === 0);
}

/** An outcome is kept as long as its intent is there: so long its writer may not have read it. */
function keptOutcomes({ applied }: RepositoryIndex, listed: readonly ListedIntent[]): [string, Outcomes][] {
  return listed.flatMap(({ id }): [string, Outcomes][] => {
    const outcomes = applied.get(id);
    return outcomes === undefined ? [] : [[id, outcomes]];
  });
}

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
