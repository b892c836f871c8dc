/**
 * A commit after a lost race: each writer leaves its changes as an intent, and the winner of the next race merges them all.
 *
 * One conditional write decides the outcome of an intent, once: in the same write the outcome goes into the index's `applied`,
 * and it stays there as long as the intent is there. Why nothing old comes back:
 *
 * - What is merged is listed *after* the index was read. If that index has forgotten an outcome, its intent was deleted before
 *   and is not in the list. If the index has moved meanwhile, it refuses the write.
 * - An intent that was sent twice may land again after it was deleted. Its writer does not delete it: it stays until it is too
 *   old to be merged.
 * - An intent says which generation of the index its writer had seen. Each name in the index says in which generation the
 *   writers of its changes began, at the latest (`Stamp`). If one of them may have begun after the intent was sent, the intent is
 *   answered `stale` and not made. So a writer that is gone never undoes a change by somebody who began later and was told that
 *   it was made. A living writer that is told `stale` sends another intent.
 * - In one merge intents go by age, and an intent is younger than all that were there when its commit began. So what the dead
 *   have left comes first, by every clock.
 *
 * Clocks decide only who goes first and how long others help a writer. An intent that is late by the clock of another writer
 * is left alone: its own writer, if it lives, can still merge it, and is the only one to say that it has expired.
 */
import type { ChangeSetOutcome } from "../../oci/index-change.ts";
import { type Commit, lotOf, newIntentId, unknownOutcome } from "./commit.ts";
import type { IndexState } from "./index-state.ts";
import { type Intent, deleteIntent, listIntents, maxWaitMs, putIntent } from "./intent.ts";
import { seenOf } from "./merge-index.ts";
import {
  type Merge,
  type Sight,
  type Told,
  look,
  maxConcurrentReads,
  mergeIntents,
  readIntents,
} from "./merge-intents.ts";
import { checkFormat } from "./repository-index.ts";

/** After an intent may be merged no more, and after its last sending, its writer looks for its outcome this much longer. */
const maxDoubtMs = 30_000;
/** A writer gives up looking after its intent was in no listing for this long. No answer came when the intent was sent. */
const maxMissingMs = 10_000;
/** The requests of a merge beside the reads of intents: two looks, with two requests each. */
const requestsOfMerge = 4;
const shortestRequestMs = 2;
const longestWaitMs = 8000;

/**
 * Returns what became of the changes. `lastSeen` is the index without them, as it was a moment ago. Throws
 * `STORE_UNAVAILABLE` if nobody can tell by the time that it should be known, and what `checkFormat` does.
 */
export async function combine(commit: Commit, lastSeen: IndexState): Promise<readonly ChangeSetOutcome[]> {
  const { repository, sets, clock } = commit;
  checkFormat(lastSeen.index, repository);
  const until = clock.now() + maxWaitMs;
  const earlier = (await listIntents(commit)).map(({ id }) => id);
  const outcomes = new Map<number, ChangeSetOutcome>();
  let open = [...sets.keys()];
  let state = lastSeen;
  while (open.length > 0) {
    const openSets = sets.filter((_, i) => open.includes(i));
    const told = await sendIntent({ ...commit, sets: openSets }, { lastSeen: state, until, earlier });
    for (const [at, i] of open.entries()) outcomes.set(i, told.outcomes[at] ?? { failed: "expired" });
    if (clock.now() > until) break;
    open = open.filter((i) => isStale(outcomes.get(i)));
    ({ state } = told);
  }
  return sets.map((_, i) => outcomes.get(i) ?? { failed: "expired" });
}

function isStale(outcome: ChangeSetOutcome | undefined): boolean {
  return outcome !== undefined && "failed" in outcome && outcome.failed === "expired" && outcome.stale === true;
}

interface Attempt {
  /** It does for the first look too, since what is listed after it is merged with it. */
  readonly lastSeen: IndexState;
  /** Until when this writer makes the changes, in milliseconds since 1970. */
  readonly until: number;
  /** The intents that were there when the commit began. */
  readonly earlier: readonly string[];
}

/** Sends an intent with all changes, and returns what became of them. */
async function sendIntent(lone: Commit, { lastSeen, until, earlier }: Attempt): Promise<Told> {
  const { sets, clock, repository, store } = lone;
  const id = newIntentId(clock, { commit: lone.id, commits: lastSeen.index.commits, intents: earlier });
  const commit: Commit = { ...lone, id };
  const own: Intent = { id, sets, seen: seenOf(lastSeen.index) };
  const read = new Map([[id, own]]);
  let began = clock.now();
  const timesSent = await putIntent(own, { store, repository, clock, deadline: until });
  const lastLook = Math.max(until, clock.now()) + maxDoubtMs; // no answer may have been long in coming
  let requestMs = Math.max(shortestRequestMs, clock.now() - began); // the slowest so far
  let lastError: unknown;
  began = clock.now();
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    let waiting = 0;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - began) / 2); // a look is two
      waiting = found.waiting.length;
      const isThere = found.listed.some((intent) => intent.id === id);
      missingSince = isThere ? Number.POSITIVE_INFINITY : Math.min(missingSince, clock.now());
      const isOwnTurn = isTurn(rankOf(id, found), round);
      const told = toldIn(found) ?? (isOwnTurn ? await takePart({ ...commit, ...found, read, until }) : undefined);
      if (told !== undefined) {
        if (timesSent === 1) await deleteIntent(id, commit);
        return told;
      }
    } catch (error) {
      lastError = error; // the intent stays in the store: another round may get an answer
    }
    // The look's beginning counts: a writer that was held up since then looks once more.
    if (began >= Math.min(lastLook, missingSince + maxMissingMs)) throw unknownOutcome(repository, lastError);
    await clock.sleep(waitMs(round, waiting, requestMs, clock.random()));
    began = clock.now();
  }
}

function toldIn({ outcomes, state }: Sight): Told | undefined {
  return outcomes && { outcomes, state };
}

/** Merges all that wait. What comes while the intents are read waits for the next merge. */
async function takePart(merge: Merge): Promise<Told | undefined> {
  if (!(await readIntents(merge))) return mergeIntents(merge);
  // The index may have moved while intents were read: another look costs less than a merge that is lost.
  const current = { ...merge, ...(await look(merge, undefined)) };
  return toldIn(current) ?? mergeIntents(current);
}

/** The place of the own intent among those that wait, by lot. -1 if it is not there. */
function rankOf(id: string, { waiting }: Sight): number {
  const isThere = waiting.some((intent) => intent.id === id);
  return isThere ? waiting.filter((intent) => lotOf(intent.id) < lotOf(id)).length : -1;
}

/**
 * One writer merges first, by lot, and the others wait. Each further writer would read every intent and then lose the race. If
 * the first is slow or dead, four times as many try in each further round. The order changes only the speed. The lot and not
 * the age decides: the oldest would merge before the intents of its crowd have arrived.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/**
 * How long a writer waits for a merge of `waiting` intents by another writer. The first two waits are a bit longer than a merge
 * usually takes, so that a writer whose intent came too late for one merge is in the next. From then on each wait is twice as
 * long as the one before: a merge by a slow process is over within few rounds.
 */
function waitMs(round: number, waiting: number, requestMs: number, random: number): number {
  const usualMs = requestMs * (requestsOfMerge + waiting / maxConcurrentReads);
  return Math.min(usualMs * 2 ** Math.max(0, round - 1), longestWaitMs) * (1.1 + 0.2 * random);
}
