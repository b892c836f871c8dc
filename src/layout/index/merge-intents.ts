/**
 * Merges the intents of all writers into the index, in one conditional write. The winner of a race does this for all
 * others.
 */
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
import { mergeWithinLimit } from "./merge-index.ts";
import { type StaleTest, findStale } from "./find-stale.ts";
import type { RepositoryIndex } from "./repository-index.ts";

/** The most bytes of intents in one merge. The other intents wait for the next merge. */
const maxMergedBytes = 8 * 1024 * 1024;
export const maxConcurrentReads = 32;

type Outcomes = readonly ChangeSetOutcome[];
const expired: ChangeSetOutcome = { failed: "expired" };
export const stale: ChangeSetOutcome = { failed: "expired", stale: true };

export interface Merge extends Commit, Look {
  /** The intents that this writer has sent or read, by id. An intent never changes, so it is read once. */
  readonly read: Map<string, Intent>;
  /** After this time, in milliseconds since 1970, this writer does not make its own changes any more. */
  readonly until: number;
}

/**
 * The outcomes of the own changes. `state` is the index that had these outcomes, or the index that the merge has
 * replaced.
 */
export interface Decision {
  readonly outcomes: Outcomes;
  readonly state: IndexState;
}

/**
 * Reads the waiting intents that a merge would take and that this writer does not know yet. Returns true if there were
 * any.
 */
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
 * Merges the waiting intents that were read, in the order of age. Returns the outcomes of the own changes if the write
 * succeeded, or if a faster writer merged them. Whether a set is stale is judged by the index before the merge, not by
 * the other sets.
 */
export async function mergeIntents(merge: Merge): Promise<Decision | undefined> {
  const { id, clock, store, repository, state, listed, read, memory } = merge;
  await deleteAbandoned(merge);
  const intents = mergeable(merge).flatMap((intent) => read.get(intent.id) ?? []);
  const isStale = findStale(
    state.index,
    intents.flatMap((intent) => intent.sets),
  );
  const failures = intents.map((intent) => intent.sets.map((set) => failureOf(set, intent, { merge, isStale })));
  const sets = intents.flatMap((intent, i) => intent.sets.filter((_, at) => failures[i]?.[at] === undefined));
  const merged = mergeWithinLimit(state.index, sets, clock.now());
  const applied = new Map(keptOutcomes(state.index, listed));
  const outcomes = merged.outcomes.values();
  for (const [i, intent] of intents.entries()) {
    applied.set(
      intent.id,
      intent.sets.map((_, at) => failures[i]?.[at] ?? outcomes.next().value ?? expired),
    );
  }
  merge.onTry?.();
  const answer = await writeIndex({ ...merged.index, applied }, { store, repository, state, id });
  const found = answer === "written" ? state : await readIndex(store, repository, memory);
  const own = answer === "written" ? applied.get(id) : found.index.applied.get(id);
  return own && { outcomes: own, state: found };
}

interface Judge {
  readonly merge: Merge;
  readonly isStale: StaleTest;
}

/**
 * Returns why a set is not merged, or undefined if it is merged. The own sets are never stale: their writer lives, and
 * has just read the index.
 */
function failureOf(set: ChangeSet, { id, seen }: Intent, { merge, isStale }: Judge): ChangeSetOutcome | undefined {
  if (id === merge.id) return merge.clock.now() > merge.until ? expired : undefined;
  return isStale(set, seen) ? stale : undefined;
}

/** Deletes the intents of dead writers: no writer merges them any more. The next merge then forgets their outcomes. */
async function deleteAbandoned(merge: Merge): Promise<void> {
  const abandoned = merge.listed.filter(({ id }) => isAbandoned(id, merge.clock));
  await concurrently(abandoned, maxConcurrentReads, async ({ id }) => deleteIntent(id, merge));
}

/**
 * The oldest waiting intents that fit into one merge, and at least one. Skips an intent that is too large to be read.
 */
function mergeable({ waiting }: Merge): readonly ListedIntent[] {
  let bytes = 0;
  const readable = waiting.filter((intent) => intent.size <= maxIntentBytes);
  return readable.filter(({ size }, i) => (bytes += size) <= maxMergedBytes || i === 0);
}

/** The outcomes of the intents that are still in the store: their writers may not have read the outcomes yet. */
function keptOutcomes({ applied }: RepositoryIndex, listed: readonly ListedIntent[]): [string, Outcomes][] {
  return listed.flatMap(({ id }): [string, Outcomes][] => {
    const outcomes = applied.get(id);
    return outcomes === undefined ? [] : [[id, outcomes]];
  });
}

/** What a look at the store shows. */
export interface Look {
  readonly state: IndexState;
  /** The outcomes of the own changes, if the index has them. */
  readonly outcomes: readonly ChangeSetOutcome[] | undefined;
  readonly listed: readonly ListedIntent[];
  /** The intents without an outcome that may be merged: the own intent, and the others that are not late. */
  readonly waiting: readonly ListedIntent[];
}

/**
 * Reads the index and then lists the intents, never the other way round: the argument in `combine.ts` depends on this
 * order. With `lastSeen`, the index is not read again.
 */
export async function look(commit: Commit, lastSeen: IndexState | undefined): Promise<Look> {
  const { id, store, repository, clock, memory } = commit;
  const state = lastSeen ?? (await readIndex(store, repository, memory));
  const { applied } = state.index;
  const outcomes = applied.get(id);
  const listed = outcomes === undefined ? await listIntents(commit) : [];
  const open = listed.filter((intent) => !applied.has(intent.id));
  const waiting = open.filter((intent) => intent.id === id || !isLate(intent.id, clock));
  return { state, outcomes, listed, waiting };
}
