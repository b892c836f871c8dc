/**
 * A commit after a lost race: each writer leaves its changes as an intent, and whoever wins the next race merges them all.
 *
 * The outcome of an intent is decided by one conditional write, once: in the same write it goes into the index's `applied`,
 * where it stays as long as the intent is there. Nothing old can come back, for three reasons. A writer deletes only what it
 * has sent once: what might come a second time stays until it is too old to be merged. What is merged is listed *after* the
 * index was read: an intent whose outcome that index has forgotten is deleted by then, so it is not in the list. And an index
 * that has moved meanwhile refuses the write.
 */
import type { ChangeSetOutcome } from "../oci/index-change.ts";
import type { Commit } from "./commit-changes.ts";
import type { IndexState } from "./index-state.ts";
import { type Intent, deleteIntent, putIntent } from "./intent.ts";
import { type Sight, look } from "./look.ts";
import { type Merge, maxConcurrentReads, mergeIntents, readIntents } from "./merge-intents.ts";
import { unknownOutcome } from "./unknown-outcome.ts";

/** How long an intent may wait to be merged. */
const maxWaitMs = 60_000;
/** How long after that, and after the last try of sending it, its writer still looks for what became of it. */
const maxDoubtMs = 30_000;
/** How long an intent that was sent without an answer may be nowhere, until its writer gives up looking. */
const maxMissingMs = 10_000;
const shortestRequestMs = 2;
/** What a process that hardly gets to run needs for an intent, and for all that it merges. */
const slowReadMs = 4;
const longestReaderMs = 350;
/**
 * Between the rounds, so many times as long as a merge usually takes: who came too late for one merge is in the next, and a
 * merge by a process that hardly gets to run is still over within few rounds.
 */
const patience = [1, 1, 4, 24];
const longestWaitMs = 8000;
/** Before another round where the store did not even let itself be looked at. */
const waitAfterErrorMs = 100;

type Outcomes = readonly ChangeSetOutcome[];

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
  const timesSent = await putIntent(own, commit, clock);
  const lastLook = Math.max(deadline, clock.now()) + maxDoubtMs; // no answer may have been long in coming
  let requestMs = shortestRequestMs; // the slowest so far
  let lastError: unknown;
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    let usualMs = waitAfterErrorMs;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - began) / 2); // a look is two, or one after the intent was sent
      usualMs = mergeMs(found, requestMs);
      const isThere = found.listed.some((intent) => intent.id === id);
      missingSince = isThere ? Number.POSITIVE_INFINITY : Math.min(missingSince, clock.now());
      const outcomes = found.outcomes ?? (await takePart({ ...commit, ...found, read }, round));
      if (outcomes !== undefined) {
        if (timesSent === 1) await deleteIntent(id, commit);
        return outcomes;
      }
    } catch (error) {
      lastError = error; // an intent is there for good: another round may find the store in a better state
    }
    // By when the look began: whoever was held up since then looks once more.
    if (began >= Math.min(lastLook, missingSince + maxMissingMs)) throw unknownOutcome(commit.repository, lastError);
    await clock.sleep(waitMs({ usualMs, round, random: clock.random() }));
    began = clock.now();
  }
}

/** Merges all that wait, if the own changes are among them and it is this writer's turn. */
async function takePart(merge: Merge, round: number): Promise<Outcomes | undefined> {
  const rank = merge.waiting.findIndex(({ id }) => id === merge.id);
  if (!isTurn(rank, round)) return undefined;
  // The index may move while others' intents are read, and a look costs less than a merge that is lost.
  const found = (await readIntents(merge)) ? await look(merge, undefined) : merge;
  return found.outcomes ?? mergeIntents({ ...merge, ...found });
}

/**
 * The oldest merges first, while the others wait for it: each further one would read every intent only to lose. If it is
 * slow or dead, more and more of them try. Who goes when is a matter of speed alone.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/**
 * How long it takes whoever merges all that wait: it reads them, looks again and writes. Where the store answers at once it
 * is the reader that takes its time, the more so beside a hundred others on one machine.
 */
function mergeMs({ waiting }: Sight, requestMs: number): number {
  const readerMs = Math.min(waiting.length * slowReadMs, longestReaderMs);
  return Math.max(requestMs * (4 + waiting.length / maxConcurrentReads), readerMs);
}

/** A bit longer, so that it is over by then. */
function waitMs({ usualMs, round, random }: { usualMs: number; round: number; random: number }): number {
  const times = patience[Math.min(round, patience.length - 1)] ?? 1;
  return Math.min(usualMs * times, longestWaitMs) * (1.1 + 0.2 * random);
}
