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
import { findStale, seenOf } from "./merge-index.ts";
import {
  type Merge,
  type Sight,
  type Told,
  look,
  maxConcurrentReads,
  mergeIntents,
  readIntents,
  stale,
} from "./merge-intents.ts";
import { checkFormat } from "./repository-index.ts";

/** How long after that, and after the last try of sending it, its writer still looks for what became of it. */
const maxDoubtMs = 30_000;
/** How long an intent that was sent without an answer may be nowhere, until its writer gives up looking. */
const maxMissingMs = 10_000;
/** How often a merge reads what has come meanwhile. What it leaves waits for the next merge, and may be stale by then. */
const maxReads = 2;
const shortestRequestMs = 2;
/** What a process that hardly gets to run needs for an intent, and for all that it merges. */
const slowReadMs = 4;
const longestReaderMs = 350;
/**
 * The wait after each round, as a multiple of the usual time of a merge. An intent that came too late for one merge is in the next.
 * A merge by a process that hardly gets to run is still over within few rounds.
 */
const patience = [1, 1, 4, 24];
const longestWaitMs = 8000;
/** Before another round where the store did not even let itself be looked at. */
const waitAfterErrorMs = 100;

/**
 * Returns what became of the changes. `lastSeen` is the index without them, as it was a moment ago. Throws
 * `STORE_UNAVAILABLE` if the outcome is still unknown when it should be known, and what `checkFormat` throws.
 */
export async function combine(commit: Commit, lastSeen: IndexState): Promise<readonly ChangeSetOutcome[]> {
  const { repository, sets, clock } = commit;
  checkFormat(lastSeen.index, repository);
  const until = clock.now() + maxWaitMs;
  const earlier = (await listIntents(commit)).map(({ id }) => id);
  const outcomes = new Map<number, ChangeSetOutcome>();
  let open = [...sets.keys()];
  let state = lastSeen;
  let crowd = 0;
  while (open.length > 0) {
    const openSets = sets.filter((_, i) => open.includes(i));
    const told = await sendIntent({ ...commit, sets: openSets }, { lastSeen: state, until, earlier, crowd });
    for (const [at, i] of open.entries()) outcomes.set(i, told.outcomes[at] ?? { failed: "expired" });
    if (clock.now() > until) break;
    open = open.filter((i) => isStale(outcomes.get(i)));
    ({ state, crowd } = told);
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
  /** How many intents have waited beside the former one of this commit, if there was one. */
  readonly crowd: number;
}

/** Sends an intent with all changes, and returns what became of them. */
async function sendIntent(
  lone: Commit,
  { lastSeen, until, earlier, crowd }: Attempt,
): Promise<Told & Pick<Attempt, "crowd">> {
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
  // All that a merge has left are told so at about the same time, and send another intent: the next merge is to have them all.
  if (crowd > 0) await clock.sleep(Math.min(mergeMs(crowd, requestMs), longestWaitMs));
  began = clock.now();
  let mostWaiting = crowd;
  let hasTried = false; // what this writer merges itself is not stale, and may land late
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    let usualMs = waitAfterErrorMs;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - began) / 2); // a look is two
      usualMs = mergeMs(found.waiting.length, requestMs);
      mostWaiting = Math.max(mostWaiting, found.waiting.length);
      const isThere = found.listed.some((intent) => intent.id === id);
      missingSince = isThere ? Number.POSITIVE_INFINITY : Math.min(missingSince, clock.now());
      const isOwnTurn = isTurn(rankOf(id, found), round);
      hasTried ||= isOwnTurn;
      const known = toldIn(found) ?? (isThere && !hasTried ? foresee(own, found) : undefined);
      const told = known ?? (isOwnTurn ? await takePart({ ...commit, ...found, read, until }) : undefined);
      if (told !== undefined) {
        if (timesSent === 1) await deleteIntent(id, commit);
        return { ...told, crowd: mostWaiting };
      }
    } catch (error) {
      lastError = error; // an intent is there for good: another round may find the store in a better state
    }
    // Judged by the start of the look: a writer that was held up since then looks once more.
    if (began >= Math.min(lastLook, missingSince + maxMissingMs)) throw unknownOutcome(repository, lastError);
    await clock.sleep(waitMs({ usualMs, round, random: clock.random() }));
    began = clock.now();
  }
}

/** Once everything in an intent is stale it stays so: its writer need not wait to be told. */
function foresee({ sets, seen }: Intent, { state }: Sight): Told | undefined {
  if (state.index.generation === seen.generation) return undefined;
  const isOver = findStale(state.index, []);
  return sets.every((set) => isOver(set, seen)) ? { outcomes: sets.map(() => stale), state } : undefined;
}

function toldIn({ outcomes, state }: Sight): Told | undefined {
  return outcomes && { outcomes, state };
}

/** Merges all that wait. */
async function takePart(merge: Merge): Promise<Told | undefined> {
  // The index may move while others' intents are read, and a look costs less than a merge that is lost.
  let current = merge;
  for (let reads = 0; reads < maxReads && current.outcomes === undefined && (await readIntents(current)); reads++) {
    current = { ...merge, ...(await look(merge, undefined)) };
  }
  return toldIn(current) ?? mergeIntents(current);
}

/** The place of the own intent among those that wait, by lot. -1 if it is not there. */
function rankOf(id: string, { waiting }: Sight): number {
  const isThere = waiting.some((intent) => intent.id === id);
  return isThere ? waiting.filter((intent) => lotOf(intent.id) < lotOf(id)).length : -1;
}

/**
 * One merges first, by lot, while the others wait for it: each further one would read every intent only to lose. If it is
 * slow or dead, more and more of them try. Who goes when is a matter of speed alone. (If the oldest went first, it would
 * merge before the others of its crowd have come.)
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/**
 * The usual time of a merge in milliseconds: the writer reads all intents, looks again and writes. If the store answers at once, the
 * reader itself takes the time, above all beside a hundred others on one machine.
 */
function mergeMs(intents: number, requestMs: number): number {
  const readerMs = Math.min(intents * slowReadMs, longestReaderMs);
  return Math.max(requestMs * (4 + intents / maxConcurrentReads), readerMs);
}

/** A bit longer, so that it is over by then. */
function waitMs({ usualMs, round, random }: { usualMs: number; round: number; random: number }): number {
  const times = patience[Math.min(round, patience.length - 1)] ?? 1;
  return Math.min(usualMs * times, longestWaitMs) * (1.1 + 0.2 * random);
}
