/**
 * A commit after a lost race: each writer leaves its changes as an intent, and the winner of the next race merges them all.
 *
 * One conditional write decides the outcome of an intent, once. The same write puts the outcome into the index's `applied`.
 * The outcome stays there as long as the intent is in the store. Why no old change comes back:
 *
 * - A merge lists the intents *after* it has read the index. If that index has forgotten an outcome, the intent was deleted
 *   before, and is not in the list. If the index has moved in the meantime, the conditional write fails.
 * - An intent that was sent twice could land again after a deletion. So its writer does not delete it. The intent stays
 *   until it is too old to be merged.
 * - An intent says which generation of the index its writer had seen. Each name in the index has a stamp: the latest generation
 *   in which a writer of its changes began (`Stamp`). If such a writer may have begun after the intent was sent, the outcome of
 *   the intent is `stale`, and its changes are not made. So a dead writer never undoes a confirmed change of a later writer. A
 *   living writer sends a new intent after `stale`.
 * - A merge applies intents in the order of age. An intent is younger than all intents that were in the store when its commit
 *   began. So the intents of dead writers come first, even if clocks are wrong.
 *
 * Clocks decide only the order of intents, and how long other writers merge an intent. Another writer does not merge an intent
 * that is late by its clock. The intent's own writer can still merge it. Only the own writer decides that it has expired.
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

/** A writer looks for the outcome of its intent for this long after the deadline of the intent, and after it was sent last. */
const maxDoubtMs = 30_000;
/**
 * A writer gives up if its intent has been missing from all listings for this long. The intent was then sent without an answer.
 */
const maxMissingMs = 10_000;
/** The requests of a merge, without the reads of intents: two looks, with two requests each. */
const requestsOfMerge = 4;
const shortestRequestMs = 2;
const longestWaitMs = 8000;

/**
 * Returns the outcomes of the changes. `lastSeen` is the index as it was read last, without the changes. Throws
 * `STORE_UNAVAILABLE` if the outcomes are not found in time, and the errors of `checkFormat`.
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
  /** The index as it was read last. The first look uses it too: the intents are listed after it was read. */
  readonly lastSeen: IndexState;
  /** After this time, in milliseconds since 1970, the writer does not make the changes any more. */
  readonly until: number;
  /** The intents that were in the store when the commit began. */
  readonly earlier: readonly string[];
}

/** Sends an intent with all changes, and returns their outcomes. */
async function sendIntent(lone: Commit, { lastSeen, until, earlier }: Attempt): Promise<Told> {
  const { sets, clock, repository, store } = lone;
  const id = newIntentId(clock, { commit: lone.id, commits: lastSeen.index.commits, intents: earlier });
  const commit: Commit = { ...lone, id };
  const own: Intent = { id, sets, seen: seenOf(lastSeen.index) };
  const read = new Map([[id, own]]);
  let began = clock.now();
  const timesSent = await putIntent(own, { store, repository, clock, deadline: until });
  const lastLook = Math.max(until, clock.now()) + maxDoubtMs; // waiting for answers may have taken longer than `until`
  let requestMs = Math.max(shortestRequestMs, clock.now() - began); // the slowest request so far
  let lastError: unknown;
  began = clock.now();
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    let waiting = 0;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - began) / 2); // a look is two requests
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
    // `began` is when this look began. A writer that was held up since then looks once more.
    if (began >= Math.min(lastLook, missingSince + maxMissingMs)) throw unknownOutcome(repository, lastError);
    await clock.sleep(waitMs(round, waiting, requestMs, clock.random()));
    began = clock.now();
  }
}

function toldIn({ outcomes, state }: Sight): Told | undefined {
  return outcomes && { outcomes, state };
}

/** Merges all waiting intents. An intent that comes while these are read waits for the next merge. */
async function takePart(merge: Merge): Promise<Told | undefined> {
  if (!(await readIntents(merge))) return mergeIntents(merge);
  // The index may have moved while intents were read. Another look costs less than a lost merge.
  const current = { ...merge, ...(await look(merge, undefined)) };
  return toldIn(current) ?? mergeIntents(current);
}

/** The place of the own intent among the waiting intents, in the order of their lots. -1 if the own intent is not there. */
function rankOf(id: string, { waiting }: Sight): number {
  const isThere = waiting.some((intent) => intent.id === id);
  return isThere ? waiting.filter((intent) => lotOf(intent.id) < lotOf(id)).length : -1;
}

/**
 * May this writer merge in this round? In round 0 one writer merges, chosen by lot, and the others wait: they would read every
 * intent and then lose the race. The first writer may be slow or dead, so each further round has four times as many writers.
 * The order changes only the speed. Age does not decide: the oldest writer would merge before the intents of the others have
 * arrived.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/**
 * How long a writer waits for a merge of `waiting` intents by another writer. The first two waits are a bit longer than a merge
 * usually takes. So an intent that came too late for one merge is in the next. Each further wait is twice as long as the one
 * before. So a merge by a slow process is over within a few rounds.
 */
function waitMs(round: number, waiting: number, requestMs: number, random: number): number {
  const usualMs = requestMs * (requestsOfMerge + waiting / maxConcurrentReads);
  return Math.min(usualMs * 2 ** Math.max(0, round - 1), longestWaitMs) * (1.1 + 0.2 * random);
}
