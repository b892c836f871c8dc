/**
 * A commit of several writers together: each writer leaves its changes as an intent, and the winner of the next race
 * merges them all.
 *
 * One conditional write decides the outcome of an intent, once. The same write puts the outcome into the index's
 * `applied`. The outcome stays there as long as the intent is in the store. `docs/commit.md` has examples. Why no old
 * change comes back:
 *
 * - A merge lists the intents *after* it has read the index. If that index has forgotten an outcome, the intent was
 *   deleted before, and is not in the list. If the index has moved in the meantime, the conditional write fails.
 * - An intent that was sent twice could land again after a deletion. So its writer does not delete it. The intent stays
 *   until it is too old to be merged.
 * - An intent says which generation of the index its writer had seen. Each name in the index has a stamp: one more than
 *   the latest generation at which a writer of its changes began (`Stamp`). If such a writer may have begun after the
 *   intent was sent, the outcome of the intent is `stale`, and its changes are not made. So a dead writer never undoes
 *   a confirmed change of a later writer. A living writer sends a new intent after `stale`.
 * - A merge applies intents in the order of age. An intent is younger than all intents that were in the store when its
 *   commit began. So the intents of dead writers come first, even if clocks are wrong.
 *
 * Clocks decide only the order of intents, and how long other writers merge an intent. Another writer does not merge an
 * intent that is late by its clock. The intent's own writer can still merge it. Only the own writer decides that it has
 * expired.
 */
import type { ChangeSetOutcome } from "../../oci/index-change.ts";
import { type Commit, lotOf, newIntentId, unknownOutcome } from "./commit.ts";
import type { IndexState } from "./index-state.ts";
import { type Intent, deleteIntent, listIntents, maxWaitMs, putIntent } from "./intent.ts";
import { findStale, seenOf } from "./find-stale.ts";
import {
  type Merge,
  type Look,
  type Decision,
  look,
  maxConcurrentReads,
  mergeIntents,
  readIntents,
  stale,
} from "./merge-intents.ts";
import { checkFormat } from "./repository-index.ts";

/**
 * After the deadline of an intent, and after the last try to send it, its writer looks for the outcome for this long.
 */
const maxDoubtMs = 30_000;
/** An intent that got no answer may be missing for this long. Then its writer stops looking. */
const maxMissingMs = 10_000;
/** A merge reads new intents this many times. Later intents wait for the next merge, and may be stale by then. */
const maxReads = 2;
const shortestRequestMs = 2;
/** The time that a busy machine needs to read one intent. `longestReaderMs` is the limit for all intents of a merge. */
const slowReadMs = 4;
const longestReaderMs = 350;
/**
 * The wait after each round, as a multiple of the usual time of a merge. An intent that came too late for one merge is
 * in the next. The waits grow, so a merge by a process that gets little CPU time is over within few rounds too.
 */
const waitFactors = [1, 1, 4, 24];
const longestWaitMs = 8000;
/** The usual time of a merge if the store did not answer a look. */
const waitAfterErrorMs = 100;

/**
 * Returns the outcomes of the changes. `lastSeen` is a recent state of the index, without the changes. Throws
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
    const decision = await sendIntent({ ...commit, sets: openSets }, { lastSeen: state, until, earlier, crowd });
    for (const [at, i] of open.entries()) outcomes.set(i, decision.outcomes[at] ?? { failed: "expired" });
    if (clock.now() > until) break;
    open = open.filter((i) => isStale(outcomes.get(i)));
    ({ state, crowd } = decision);
  }
  return sets.map((_, i) => outcomes.get(i) ?? { failed: "expired" });
}

function isStale(outcome: ChangeSetOutcome | undefined): boolean {
  return outcome !== undefined && "failed" in outcome && outcome.failed === "expired" && outcome.stale === true;
}

interface Attempt {
  /** A recent state of the index. The first look uses this state, and lists the intents after it. */
  readonly lastSeen: IndexState;
  /** The writer makes the changes until this time, in milliseconds since 1970. */
  readonly until: number;
  /** The intents that were in the store when the commit began. */
  readonly earlier: readonly string[];
  /** The number of intents that waited beside the previous intent of this commit. 0 for the first intent. */
  readonly crowd: number;
}

/** Sends an intent with all changes, and returns their outcomes. */
async function sendIntent(
  wanted: Commit,
  { lastSeen, until, earlier, crowd }: Attempt,
): Promise<Decision & Pick<Attempt, "crowd">> {
  const { sets, clock, repository, store } = wanted;
  const id = newIntentId(clock, { commit: wanted.id, commits: lastSeen.index.commits, intents: earlier });
  const commit: Commit = { ...wanted, id };
  const own: Intent = { id, sets, seen: seenOf(lastSeen.index) };
  const read = new Map([[id, own]]);
  let beganMs = clock.now();
  const timesSent = await putIntent(own, { store, repository, clock, deadline: until });
  const lastLook = Math.max(until, clock.now()) + maxDoubtMs; // sending the intent may have taken long
  let requestMs = Math.max(shortestRequestMs, clock.now() - beganMs); // the slowest so far
  let lastError: unknown;
  // A merge tells all its stale writers at about the same time. They all send a new intent, and the next merge should
  // have all.
  if (crowd > 0) await clock.sleep(Math.min(mergeMs(crowd, requestMs), longestWaitMs));
  beganMs = clock.now();
  let mostWaiting = crowd;
  let hasTried = false; // its write may still take effect, and a merge never judges its own sets stale
  let missingSince = Number.POSITIVE_INFINITY;
  for (let round = 0; ; round++) {
    let usualMs = waitAfterErrorMs;
    try {
      const found = await look(commit, round === 0 ? lastSeen : undefined);
      requestMs = Math.max(requestMs, (clock.now() - beganMs) / 2); // a look makes two requests
      usualMs = mergeMs(found.waiting.length, requestMs);
      mostWaiting = Math.max(mostWaiting, found.waiting.length);
      const isThere = found.listed.some((intent) => intent.id === id);
      missingSince = isThere ? Number.POSITIVE_INFINITY : Math.min(missingSince, clock.now());
      const isOwnTurn = isTurn(rankOf(id, found), round);
      hasTried ||= isOwnTurn;
      const known = decisionIn(found) ?? (isThere && !hasTried ? foresee(own, found) : undefined);
      const decision = known ?? (isOwnTurn ? await takePart({ ...commit, ...found, read, until }) : undefined);
      if (decision !== undefined) {
        if (timesSent === 1) await deleteIntent(id, commit);
        return { ...decision, crowd: mostWaiting };
      }
    } catch (error) {
      lastError = error; // the intent stays in the store: the next round may succeed
    }
    // Judged by the start of the look: a writer that was held up since then looks once more.
    if (beganMs >= Math.min(lastLook, missingSince + maxMissingMs)) throw unknownOutcome(repository, lastError);
    await clock.sleep(waitMs({ usualMs, round, random: clock.random() }));
    beganMs = clock.now();
  }
}

/** An intent whose changes are all stale stays stale. So its writer need not wait for the outcome. */
function foresee({ sets, seen }: Intent, { state }: Look): Decision | undefined {
  if (state.index.generation === seen.generation) return undefined;
  const isOver = findStale(state.index, []);
  return sets.every((set) => isOver(set, seen)) ? { outcomes: sets.map(() => stale), state } : undefined;
}

function decisionIn({ outcomes, state }: Look): Decision | undefined {
  return outcomes && { outcomes, state };
}

/** Merges all waiting intents. */
async function takePart(merge: Merge): Promise<Decision | undefined> {
  // The index may move while intents are read. Another look costs less than a lost merge.
  let current = merge;
  for (let reads = 0; reads < maxReads && current.outcomes === undefined && (await readIntents(current)); reads++) {
    current = { ...merge, ...(await look(merge, undefined)) };
  }
  return decisionIn(current) ?? mergeIntents(current);
}

/**
 * The place of the own intent among the waiting intents, in the order of their lots. -1 if the own intent is not there.
 */
function rankOf(id: string, { waiting }: Look): number {
  const isThere = waiting.some((intent) => intent.id === id);
  return isThere ? waiting.filter((intent) => lotOf(intent.id) < lotOf(id)).length : -1;
}

/**
 * May this writer merge in this round? In round 0 one writer merges, chosen by lot, and the others wait: they would
 * read every intent and then lose the race. The first writer may be slow or dead, so each further round has four times
 * as many writers. The order changes only the speed. Age does not decide: the oldest writer would merge before the
 * intents of the others have arrived.
 */
function isTurn(rank: number, round: number): boolean {
  return rank !== -1 && rank < 4 ** round;
}

/**
 * The usual time of a merge in milliseconds: the writer reads all intents, looks again and writes. If the store answers
 * at once, reading the intents takes CPU time, above all beside a hundred other writers on one machine.
 */
function mergeMs(intents: number, requestMs: number): number {
  const readerMs = Math.min(intents * slowReadMs, longestReaderMs);
  return Math.max(requestMs * (4 + intents / maxConcurrentReads), readerMs);
}

/** The wait is a little longer than a merge, so that the merge is over by then. */
function waitMs({ usualMs, round, random }: { usualMs: number; round: number; random: number }): number {
  const times = waitFactors[Math.min(round, waitFactors.length - 1)] ?? 1;
  return Math.min(usualMs * times, longestWaitMs) * (1.1 + 0.2 * random);
}
