/** What the winner of a race does for everybody: it merges their intents into the index, in one conditional write. */
import type { ChangeSetOutcome } from "../oci/index-change.ts";
import type { RepositoryIndex } from "../oci/repository-index.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { Commit } from "./commit-changes.ts";
import { readIndex, writeIndex } from "./index-state.ts";
import { type Intent, type ListedIntent, deleteIntent, isAbandoned, maxIntentBytes, readIntent } from "./intent.ts";
import type { Sight } from "./look.ts";
import { mergeWithin } from "./merge-within.ts";

/** Bytes of intents that are merged in one write; the rest waits for the next. */
const maxMergedBytes = 8 * 1024 * 1024;
export const maxConcurrentReads = 32;

type Outcomes = readonly ChangeSetOutcome[];
const expired: ChangeSetOutcome = { failed: "expired" };

export interface Merge extends Commit, Sight {
  /** Intents that this writer knows, its own among them: they never change. */
  readonly read: Map<string, Intent>;
}

/** Reads those of the waiting that a merge would take and this writer does not know yet. Were there any? */
export async function readIntents(merge: Merge): Promise<boolean> {
  const { read } = merge;
  const wanted = new Set(mergeable(merge).map(({ id }) => id));
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
 * the winner did it.
 */
export async function mergeIntents(merge: Merge): Promise<Outcomes | undefined> {
  const { id, clock, store, repository, state, listed, waiting, read } = merge;
  await deleteAbandoned(merge);
  const intents = mergeable(merge).flatMap((intent) => read.get(intent.id) ?? []);
  const now = clock.now();
  const live = intents.filter(({ deadline }) => now <= deadline);
  const changes = live.flatMap(({ sets }) => sets);
  const { index, outcomes } = mergeWithin(state.index, changes);
  const applied = new Map(keptOutcomes(state.index, listed));
  // Unread, so that what nobody can read does not stay for good.
  for (const intent of waiting) if (isAbandoned(intent.id, clock)) applied.set(intent.id, [expired]);
  for (const intent of intents)
    applied.set(
      intent.id,
      intent.sets.map(() => expired),
    );
  let taken = 0;
  for (const intent of live) applied.set(intent.id, outcomes.slice(taken, (taken += intent.sets.length)));
  const answer = await writeIndex({ ...index, applied }, { store, repository, state, id });
  if (answer !== "written") return (await readIndex(store, repository)).index.applied.get(id);
  return applied.get(id);
}

/**
 * Those of dead writers. Their outcomes are known, so that it makes no difference to anybody; the next merge forgets them.
 */
async function deleteAbandoned(merge: Merge): Promise<void> {
  const { clock, state, listed } = merge;
  const abandoned = listed.filter((intent) => state.index.applied.has(intent.id) && isAbandoned(intent.id, clock));
  await concurrently(abandoned, maxConcurrentReads, async ({ id }) => deleteIntent(id, merge));
}

/** The oldest that can be read, as many as may be merged at once; the first in any case. */
function mergeable(merge: Merge): readonly ListedIntent[] {
  let bytes = 0;
  const { clock, waiting } = merge;
  const readable = waiting.filter((intent) => intent.size <= maxIntentBytes && !isAbandoned(intent.id, clock));
  return readable.filter(({ size }, i) => (bytes += size) <= maxMergedBytes || i === 0);
}

/** An outcome is kept as long as its intent is there: so long its writer may not have read it. */
function keptOutcomes({ applied }: RepositoryIndex, listed: readonly ListedIntent[]): [string, Outcomes][] {
  return listed.flatMap(({ id }): [string, Outcomes][] => {
    const outcomes = applied.get(id);
    return outcomes === undefined ? [] : [[id, outcomes]];
  });
}
