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
import {
  type Intent,
  type ListedIntent,
  deleteIntent,
  listIntents,
  maxIntentBytes,
  putIntent,
  readIntent,
} from "./intent.ts";
import { mergeWithin } from "./merge-within.ts";
import { unknownOutcome } from "./unknown-outcome.ts";

/** How long an intent may wait to be merged. */
const maxWaitMs = 60_000;
/** How long after that its writer still looks for what became of it. */
const maxDoubtMs = 30_000;
/** How long an intent that was sent without an answer may be nowhere, until its writer gives up looking. */
const maxMissingMs = 10_000;
/** An intent that has been there for so long has no writer any more. */
const abandonedMs = 10 * 60_000;
/** Bytes of intents that are merged in one write; the rest waits for the next. */
const maxMergedBytes = 8 * 1024 * 1024;
const maxConcurrentReads = 32;
const shortestRequestMs = 2;
/**
 * Between the rounds, so many times as long as a merge usually takes: who came too late for one merge is in the next, and a
 * merge by a process that hardly gets to run is still over within few rounds.
 */
const patience = [1, 1, 4, 24];
const longestWaitMs = 8000;
/** Before another round where the store did not even let itself be looked at. */
const waitAfterErrorMs = 100;

type Outcomes = readonly ChangeSetOutcome[];
const expired: ChangeSetOutcome = { failed: "expired" };

/**
 * Returns what became of the changes. `lastSeen` is the index without them, as it was a moment ago: it does for the first
 * look, since what is listed after it is merged with it. Throws `STORE_UNAVAILABLE` if nobody can tell by the time that it
 * should be known.
 */
export async function combine(commit: Commit, lastSeen: IndexState): Promise<Outcomes> {
  const { id, sets, clock } = commit;
  const deadline = clock.now() + maxWaitMs;
  const own: Intent = { id, sets, deadline };
  const read = new Map([[id, own]]);
  let began = clock.now();
  await putIntent(own, commit);
  let requestMs = shortestRequestMs; // the slowest so far
  let lastError: unknown;
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; clock.now() < Math.min(deadline + maxDoubtMs, missingSince + maxMissingMs); round++) {
    let usualMs = waitAfterErrorMs;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - began) / 2); // a look is two, or one after the intent was sent
      usualMs = mergeMs(found, requestMs);
      const isThere = found.listed.some((intent) => intent.id === id);
      missingSince = isThere ? Number.POSITIVE_INFINITY : Math.min(missingSince, clock.now());
      const outcomes = found.outcomes ?? (await takePart({ ...commit, ...found, read, round }));
      if (outcomes !== undefined) {
        await deleteIntent(id, commit);
        return outcomes;
      }
    } catch (error) {
      lastError = error; // an intent is there for good: another round may find the store in a better state
    }
    await clock.sleep(waitMs({ usualMs, round, random: clock.random() }));
    began = clock.now();
  }
  throw unknownOutcome(commit.repository, lastError);
}

/** What a look at the store shows. */
interface Found {
  readonly state: IndexState;
  /** What became of the own changes, if that is known. */
  readonly outcomes: Outcomes | undefined;
  readonly listed: readonly ListedIntent[];
  /** Those that have no outcome yet. */
  readonly waiting: readonly ListedIntent[];
}

async function look(commit: Commit, lastSeen: IndexState | undefined): Promise<Found> {
  const { id, store, repository } = commit;
  const state = lastSeen ?? (await readIndex(store, repository));
  const { applied } = state.index;
  const outcomes = applied.get(id);
  const listed = outcomes === undefined ? await listIntents(commit) : [];
  const waiting = listed.filter((intent) => !applied.has(intent.id));
  return { state, outcomes, listed, waiting };
}

interface Round extends Commit, Found {
  /** Intents that this writer knows, its own among them: they never change. */
  readonly read: Map<string, Intent>;
  readonly round: number;
}

/** Merges all that wait, if the own changes are among them and it is this writer's turn. */
async function takePart(round: Round): Promise<Outcomes | undefined> {
  const rank = round.waiting.findIndex(({ id }) => id === round.id);
  if (!isTurn(rank, round.round)) return undefined;
  // The index may move while others' intents are read, and a look costs less than a merge that is lost.
  const found = (await readIntents(round)) ? await look(round, undefined) : round;
  return found.outcomes ?? mergeAll({ ...round, ...found });
}

/**
 * The oldest merges first, while the others wait for it: each further one would read every intent only to lose. If it is
 * slow or dead, more and more of them try. Who goes when is a matter of speed alone.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/** Merges what waits, in the order of age, and returns what became of the own changes if that could be written. */
async function mergeAll(round: Round): Promise<Outcomes | undefined> {
  const { id, clock, store, repository, state, listed, waiting, read } = round;
  await deleteAbandoned(round);
  const intents = mergeable(round).flatMap((intent) => read.get(intent.id) ?? []);
  const now = clock.now();
  const live = intents.filter(({ deadline }) => now <= deadline);
  const changes = live.flatMap(({ sets }) => sets);
  const { index, outcomes } = mergeWithin(state.index, changes);
  const applied = new Map(keptOutcomes(state.index, listed));
  // Unread, so that what nobody can read does not stay for good.
  for (const intent of waiting) if (isAbandoned(intent, round)) applied.set(intent.id, [expired]);
  for (const intent of intents)
    applied.set(
      intent.id,
      intent.sets.map(() => expired),
    );
  let taken = 0;
  for (const intent of live) applied.set(intent.id, outcomes.slice(taken, (taken += intent.sets.length)));
  const answer = await writeIndex({ ...index, applied }, { store, repository, state, id });
  if (answer !== "written") return (await readIndex(store, repository)).index.applied.get(id); // the winner's, most often
  return applied.get(id);
}

/** Those of dead writers. Their outcomes are known, so that it makes no difference to anybody; the next merge forgets them. */
async function deleteAbandoned(round: Round): Promise<void> {
  const { state, listed } = round;
  const abandoned = listed.filter((intent) => state.index.applied.has(intent.id) && isAbandoned(intent, round));
  await concurrently(abandoned, maxConcurrentReads, async ({ id }) => deleteIntent(id, round));
}

function isAbandoned({ id }: ListedIntent, { clock }: Commit): boolean {
  return clock.now() - timeOfCommit(id) > abandonedMs;
}

/** The oldest that can be read, as many as may be merged at once; the first in any case. */
function mergeable(round: Round): readonly ListedIntent[] {
  let bytes = 0;
  const readable = round.waiting.filter((intent) => intent.size <= maxIntentBytes && !isAbandoned(intent, round));
  return readable.filter(({ size }, i) => (bytes += size) <= maxMergedBytes || i === 0);
}

/** Reads those that this writer does not know yet. Were there any? */
async function readIntents(round: Round): Promise<boolean> {
  const { read } = round;
  const wanted = new Set(mergeable(round).map(({ id }) => id));
  for (const id of read.keys()) if (id !== round.id && !wanted.has(id)) read.delete(id);
  const unknown = [...wanted].filter((id) => !read.has(id));
  await concurrently(unknown, maxConcurrentReads, async (id) => {
    const intent = await readIntent(id, round);
    if (intent !== undefined) read.set(id, intent);
  });
  return unknown.length > 0;
}

/** An outcome is kept as long as its intent is there: so long its writer may not have read it. */
function keptOutcomes({ applied }: RepositoryIndex, listed: readonly ListedIntent[]): [string, Outcomes][] {
  return listed.flatMap(({ id }): [string, Outcomes][] => {
    const outcomes = applied.get(id);
    return outcomes === undefined ? [] : [[id, outcomes]];
  });
}

/** How long it takes whoever merges all that wait: it reads them, looks again and writes. */
function mergeMs({ waiting }: Found, requestMs: number): number {
  return requestMs * (4 + waiting.length / maxConcurrentReads);
}

/** A bit longer, so that it is over by then. */
function waitMs({ usualMs, round, random }: { usualMs: number; round: number; random: number }): number {
  const times = patience[Math.min(round, patience.length - 1)] ?? 1;
  return Math.min(usualMs * times, longestWaitMs) * (1.1 + 0.2 * random);
}
