/**
 * A commit after a lost race: each writer leaves its changes as an intent, and whoever wins the next race merges them all.
 *
 * The outcome of an intent is decided by one conditional write, once: in the same write it goes into the index's `applied`,
 * where it stays until its writer has deleted the intent. Nothing old can come back, for three reasons. An intent is sent
 * once. What is merged is listed *after* the index was read: an intent whose outcome that index has forgotten is deleted by
 * then, so it is not in the list. And an index that has moved meanwhile refuses the write.
 */
import type { ChangeSetOutcome } from "../oci/index-change.ts";
import type { RepositoryIndex } from "../oci/repository-index.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { Commit } from "./commit-changes.ts";
import { timeOfCommit } from "./commit-id.ts";
import { type IndexState, readIndex, writeIndex } from "./index-state.ts";
import { type Intent, type ListedIntent, deleteIntent, listIntents, putIntent, readIntent } from "./intent.ts";
import { mergeWithin } from "./merge-within.ts";
import { unknownOutcome } from "./unknown-outcome.ts";

/** How long an intent may wait to be merged. */
const maxWaitMs = 60_000;
/** How long after that its writer still looks for what became of it. */
const maxDoubtMs = 30_000;
/** An intent whose outcome nobody has read for so long has no writer any more. */
const abandonedMs = 10 * 60_000;
/** Bytes of intents that are merged in one write; the rest waits for the next. */
const maxMergedBytes = 8 * 1024 * 1024;
const maxConcurrentReads = 32;
const shortestWaitMs = 5;
const longestWaitMs = 2000;

type Outcomes = readonly ChangeSetOutcome[];
const expired: ChangeSetOutcome = { failed: "expired" };

/** Returns what became of the changes. Throws `STORE_UNAVAILABLE` if nobody can tell by the time that it should be known. */
export async function combine(commit: Commit): Promise<Outcomes> {
  const { id, sets, clock } = commit;
  const deadline = clock.now() + maxWaitMs;
  const own: Intent = { id, sets, deadline };
  const read = new Map([[id, own]]);
  await putIntent(own, commit);
  let lastError: unknown;
  for (let round = 0; clock.now() < deadline + maxDoubtMs; round++) {
    const began = clock.now();
    try {
      const outcomes = await takePart({ ...commit, read, round });
      if (outcomes !== undefined) {
        await deleteIntent(id, commit);
        return outcomes;
      }
    } catch (error) {
      lastError = error; // an intent is there for good: another round may find the store in a better state
    }
    await clock.sleep(waitMs({ round, tookMs: clock.now() - began, random: clock.random() }));
  }
  throw unknownOutcome(commit.repository, lastError);
}

interface Round extends Commit {
  /** Intents that this writer knows, its own among them: they never change. */
  readonly read: Map<string, Intent>;
  readonly round: number;
}

/** One round: looks whether the own intent has been merged, and if not merges all, if it is this writer's turn. */
async function takePart(round: Round): Promise<Outcomes | undefined> {
  const { id, store, repository } = round;
  const state = await readIndex(store, repository);
  const outcomes = state.index.applied.get(id);
  if (outcomes !== undefined) return outcomes;
  const listed = await listIntents(round);
  const waiting = listed.filter((intent) => !state.index.applied.has(intent.id));
  const rank = waiting.findIndex((intent) => intent.id === id);
  return isTurn(rank, round.round) ? mergeAll(round, { state, listed, waiting }) : undefined;
}

/**
 * The oldest merges first, while the others wait for it: each further one would read every intent only to lose. If it is
 * slow or dead, more and more of them try. Who goes when is a matter of speed alone.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

interface Found {
  readonly state: IndexState;
  readonly listed: readonly ListedIntent[];
  /** Those that have no outcome yet. */
  readonly waiting: readonly ListedIntent[];
}

/** Merges what waits, in the order of age, and returns what became of the own changes if that could be written. */
async function mergeAll(round: Round, { state, listed, waiting }: Found): Promise<Outcomes | undefined> {
  const { id, clock, store, repository } = round;
  const intents = await readIntents(waiting, round);
  const now = clock.now();
  const live = intents.filter(({ deadline }) => now <= deadline);
  const changes = live.flatMap(({ sets }) => sets);
  const { index, outcomes } = mergeWithin(state.index, changes);
  const applied = new Map(keptOutcomes(state.index, listed));
  for (const intent of intents)
    applied.set(
      intent.id,
      intent.sets.map(() => expired),
    );
  let taken = 0;
  for (const intent of live) applied.set(intent.id, outcomes.slice(taken, (taken += intent.sets.length)));
  const answer = await writeIndex({ ...index, applied }, { store, repository, state, id });
  if (answer !== "written") return (await readIndex(store, repository)).index.applied.get(id); // the winner's, most often
  await deleteAbandoned(applied.keys(), round);
  return applied.get(id);
}

/** The oldest, as many as may be merged at once; the first in any case. */
async function readIntents(waiting: readonly ListedIntent[], round: Round): Promise<Intent[]> {
  const { read } = round;
  let bytes = 0;
  const wanted = waiting.filter(({ size }, i) => (bytes += size) <= maxMergedBytes || i === 0);
  await concurrently(wanted, maxConcurrentReads, async ({ id }) => {
    const intent = read.get(id) ?? (await readIntent(id, round));
    if (intent !== undefined) read.set(id, intent);
  });
  const intents = wanted.flatMap(({ id }) => read.get(id) ?? []);
  for (const id of read.keys()) if (id !== round.id && !intents.some((intent) => intent.id === id)) read.delete(id);
  return intents;
}

/** An outcome is kept as long as its intent is there: so long its writer may not have read it. */
function keptOutcomes({ applied }: RepositoryIndex, listed: readonly ListedIntent[]): [string, Outcomes][] {
  return listed.flatMap(({ id }): [string, Outcomes][] => {
    const outcomes = applied.get(id);
    return outcomes === undefined ? [] : [[id, outcomes]];
  });
}

async function deleteAbandoned(ids: Iterable<string>, round: Round): Promise<void> {
  const now = round.clock.now();
  const abandoned = [...ids].filter((id) => id !== round.id && now - timeOfCommit(id) > abandonedMs);
  await concurrently(abandoned, maxConcurrentReads, async (id) => deleteIntent(id, round));
}

/** Longer where the store is slow, and with each round: a merge takes some requests, one after the other. */
function waitMs({ round, tookMs, random }: { round: number; tookMs: number; random: number }): number {
  const usual = Math.max(shortestWaitMs, tookMs) * 2 ** round;
  return Math.min(usual, longestWaitMs) * (0.5 + random);
}
