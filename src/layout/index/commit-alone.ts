/**
 * The first try of a commit, without other writers: one read of the index, one conditional write. Most commits need no
 * more.
 */
import type { ChangeSetOutcome } from "../../oci/index-change.ts";
import type { Unanswered } from "../../storage/object-store.ts";
import { type Commit, timeOfCommit, unknownOutcome } from "./commit.ts";
import { type IndexState, maxCommits, readIndex, writeIndex } from "./index-state.ts";
import { mergeWithinLimit } from "./merge-index.ts";
import type { RepositoryIndex } from "./repository-index.ts";

/** A write without an answer is sent at most this many times: for about six seconds. */
const maxTries = 8;
/** The wait before the second try. Each further wait is twice as long. */
const firstWaitMs = 100;
/**
 * A repository is busy if its latest two commits are younger than `busyMs`, or younger than the time that
 * `busyRequests` requests take. A writer that tries alone in a busy repository is likely to lose the race, or to win
 * against a writer that merges for many.
 */
const busyCommits = 2;
const busyMs = 1000;
const busyRequests = 20;

/**
 * Either the outcomes of the changes, or `lastSeen`: other writers were faster, the repository is busy, or it is too
 * late. `lastSeen` is the index without the changes, `began` the generation of the index when the commit began.
 */
type LoneResult =
  { readonly outcomes: readonly ChangeSetOutcome[] } | { readonly lastSeen: IndexState; readonly began: number };

export async function commitAlone(commit: Commit): Promise<LoneResult> {
  const { id, repository, sets, store, clock, deadline, memory } = commit;
  const beganMs = clock.now();
  let state = await readIndex(store, repository, memory);
  const began = state.index.generation;
  const wasBusy = isBusy(state.index, { now: clock.now(), requestMs: clock.now() - beganMs });
  let doubt: Unanswered | undefined; // the latest try without an answer: the write may have landed, or may land later
  for (let tries = 1; ; tries++) {
    const { index, outcomes } = mergeWithinLimit(state.index, sets, clock.now());
    if (index === state.index) return { outcomes };
    const isLate = clock.now() > deadline;
    if (wasBusy && tries === 1) return { lastSeen: state, began };
    if (isLate && doubt === undefined) return { lastSeen: state, began };
    if (isLate) throw unknownOutcome(repository, doubt?.unanswered);
    commit.onTry?.();
    const answer = await writeIndex(index, { store, repository, state, id });
    if (answer === "written") return { outcomes };
    if (answer !== "conflict") doubt = answer;
    const next = await readIndex(store, repository, memory).catch((error: unknown) => {
      throw doubt === undefined ? error : unknownOutcome(repository, error);
    });
    const fate = fateOf(id, state, next); // also after a conflict: an earlier try may have landed and caused it
    if (fate === "written") return { outcomes };
    const isLast = fate === "unknown" || tries === maxTries;
    if (fate === "lost" || (isLast && doubt === undefined)) return { lastSeen: next, began };
    if (isLast) throw unknownOutcome(repository, doubt?.unanswered);
    // The next try has the same id and starts from the same state, so only one of the two writes can land.
    await clock.sleep(clock.random() * firstWaitMs * 2 ** (tries - 1));
    state = next;
  }
}

/**
 * The fate of a write that moves `state`, judged by the index that is in the store now. `open`: the write may still
 * land. Once the index has moved, the write cannot land any more. The index's latest commits then tell whether it has
 * landed. `unknown`: too many commits have followed.
 */
function fateOf(id: string, state: IndexState, { index, etag }: IndexState): "written" | "lost" | "open" | "unknown" {
  if (index.commits.includes(id)) return "written";
  if (etag === state.etag) return "open";
  const passed = index.generation - state.index.generation;
  return passed > 0 && passed <= maxCommits ? "lost" : "unknown";
}

/** Do other writers commit at the moment, one after the other? */
function isBusy({ commits }: RepositoryIndex, { now, requestMs }: { now: number; requestMs: number }): boolean {
  const latest = commits.slice(-busyCommits);
  const recentMs = Math.max(busyMs, busyRequests * requestMs);
  return latest.length === busyCommits && latest.every((id) => Math.abs(now - timeOfCommit(id)) < recentMs);
}
