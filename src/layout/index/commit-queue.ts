/**
 * Queues the commits of one process to one repository. Changes that come during a commit wait. The next commit makes them
 * together.
 */
import { systemClock } from "../../clock.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import { inTime } from "../../streams/in-time.ts";
import { type CommitOptions, commitChanges, maxCommitMs } from "./commit-changes.ts";
import { unknownOutcome } from "./commit.ts";

/** The most changes in one commit. A single set may have more. */
const maxChanges = 1000;
/**
 * A waiter stops waiting after this time and commits by itself. A commit takes less time. But on Workers a leader may be
 * stopped before it tells the others.
 */
const maxTurnMs = 120_000;

/** What a waiter is told. `lead`: this waiter makes the next commit, for all that wait. */
type Notice = "lead" | { readonly outcome: ChangeSetOutcome } | { readonly error: unknown };

/** The changes to commit, and their deadline. */
interface Wanted {
  readonly set: ChangeSet;
  readonly deadline: number;
}

interface CommitWaiter extends Wanted {
  readonly isTold: Promise<void>;
  /** The notice, once it was told. It counts even if it comes at the moment at which the wait ends. */
  notice: Notice | undefined;
  readonly tell: (notice: Notice) => void;
}

export class CommitQueue {
  readonly #onCommit: CommitOptions["onCommit"];
  /** By repository, the waiters whose turn has not come. A repository has a list while a commit is under way. */
  readonly #waiting = new Map<string, CommitWaiter[]>();

  constructor(onCommit?: CommitOptions["onCommit"]) {
    this.#onCommit = onCommit;
  }

  /** A queue for another store. */
  another(): CommitQueue {
    return new CommitQueue(this.#onCommit);
  }

  /** Makes the changes and returns their outcome. Throws the errors of `commitChanges`. */
  async commit(repository: string, set: ChangeSet, options: CommitOptions): Promise<ChangeSetOutcome> {
    const { clock = systemClock, deadline = clock.now() + maxCommitMs } = options;
    const wanted = { set, deadline };
    const waiting = this.#waiting.get(repository);
    if (waiting === undefined) return this.#lead(repository, wanted, options);
    const waiter = newCommitWaiter(wanted);
    waiting.push(waiter);
    await inTime(waiter.isTold, maxTurnMs);
    const { notice } = waiter;
    if (notice === undefined) return this.#leave(repository, { waiter, waiting }, options);
    if (notice === "lead") return this.#lead(repository, wanted, options);
    if ("error" in notice) throw notice.error;
    return notice.outcome;
  }

  async #lead(repository: string, own: Wanted, options: CommitOptions): Promise<ChangeSetOutcome> {
    const waiting = this.#waiting.get(repository) ?? [];
    this.#waiting.set(repository, waiting);
    const others = takeFrom(waiting, own.set.changes.length);
    const all: readonly Wanted[] = [own, ...others];
    try {
      const sets = all.map(({ set }) => set);
      const deadline = Math.min(...all.map((wanted) => wanted.deadline));
      const [outcome, ...outcomes] = await commitChanges(repository, sets, {
        onCommit: this.#onCommit,
        ...options,
        deadline,
      });
      for (const [i, { tell }] of others.entries()) tell(noticeOf(outcomes[i], repository));
      if (outcome !== undefined) return outcome;
      throw unknownOutcome(repository);
    } catch (error) {
      for (const { tell } of others) tell({ error });
      throw error;
    } finally {
      const next = waiting.shift();
      if (next !== undefined) next.tell("lead");
      else if (this.#waiting.get(repository) === waiting) this.#waiting.delete(repository);
    }
  }

  /** The leader seems to be gone. If the leader has not taken the changes of this waiter, the waiter commits by itself. */
  async #leave(
    repository: string,
    { waiter, waiting }: { readonly waiter: CommitWaiter; readonly waiting: CommitWaiter[] },
    options: CommitOptions,
  ): Promise<ChangeSetOutcome> {
    const place = waiting.indexOf(waiter);
    if (place === -1) throw unknownOutcome(repository);
    waiting.splice(place, 1);
    if (this.#waiting.get(repository) === waiting) this.#waiting.delete(repository);
    return this.commit(repository, waiter.set, { ...options, deadline: waiter.deadline });
  }
}

function newCommitWaiter(wanted: Wanted): CommitWaiter {
  let resolve: () => void = () => undefined;
  const isTold = new Promise<void>((it) => (resolve = it));
  const waiter: CommitWaiter = {
    ...wanted,
    isTold,
    notice: undefined,
    tell: (notice) => {
      waiter.notice = notice;
      resolve();
    },
  };
  return waiter;
}

/** Takes waiters from the front of the list, as many as fit into one commit. */
function takeFrom(waiting: CommitWaiter[], changes: number): CommitWaiter[] {
  let total = changes;
  const end = waiting.findIndex(({ set }) => (total += set.changes.length) > maxChanges);
  return waiting.splice(0, end === -1 ? waiting.length : end);
}

function noticeOf(outcome: ChangeSetOutcome | undefined, repository: string): Notice {
  return outcome === undefined ? { error: unknownOutcome(repository) } : { outcome };
}
