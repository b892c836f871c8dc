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

/** `lead`: this waiter makes the next commit, for all that wait. */
type Turn = "lead" | { readonly outcome: ChangeSetOutcome } | { readonly error: unknown };

/** The changes to commit, and their deadline. */
interface Wanted {
  readonly set: ChangeSet;
  readonly deadline: number;
}

interface Waiter extends Wanted {
  readonly isTold: Promise<void>;
  /** The turn, once it was told. It counts even if it comes at the moment at which the wait ends. */
  turn: Turn | undefined;
  readonly tell: (turn: Turn) => void;
}

export class CommitQueue {
  /** By repository, the waiters whose turn has not come. A repository has a list while a commit is under way. */
  readonly #waiting = new Map<string, Waiter[]>();

  /** Makes the changes and returns their outcome. Throws the errors of `commitChanges`. */
  async commit(repository: string, set: ChangeSet, options: CommitOptions): Promise<ChangeSetOutcome> {
    const { clock = systemClock, deadline = clock.now() + maxCommitMs } = options;
    const wanted = { set, deadline };
    const waiting = this.#waiting.get(repository);
    if (waiting === undefined) return this.#lead(repository, wanted, options);
    const waiter = newWaiter(wanted);
    waiting.push(waiter);
    await inTime(waiter.isTold, maxTurnMs);
    const { turn } = waiter;
    if (turn === undefined) return this.#leave(repository, { waiter, waiting }, options);
    if (turn === "lead") return this.#lead(repository, wanted, options);
    if ("error" in turn) throw turn.error;
    return turn.outcome;
  }

  async #lead(repository: string, own: Wanted, options: CommitOptions): Promise<ChangeSetOutcome> {
    const waiting = this.#waiting.get(repository) ?? [];
    this.#waiting.set(repository, waiting);
    const others = takeFrom(waiting, own.set.changes.length);
    const all: readonly Wanted[] = [own, ...others];
    try {
      const sets = all.map(({ set }) => set);
      const deadline = Math.min(...all.map((wanted) => wanted.deadline));
      const [outcome, ...outcomes] = await commitChanges(repository, sets, { ...options, deadline });
      for (const [i, { tell }] of others.entries()) tell(turnOf(outcomes[i], repository));
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
    { waiter, waiting }: { readonly waiter: Waiter; readonly waiting: Waiter[] },
    options: CommitOptions,
  ): Promise<ChangeSetOutcome> {
    const place = waiting.indexOf(waiter);
    if (place === -1) throw unknownOutcome(repository);
    waiting.splice(place, 1);
    if (this.#waiting.get(repository) === waiting) this.#waiting.delete(repository);
    return this.commit(repository, waiter.set, { ...options, deadline: waiter.deadline });
  }
}

function newWaiter(wanted: Wanted): Waiter {
  let resolve: () => void = () => undefined;
  const isTold = new Promise<void>((it) => (resolve = it));
  const waiter: Waiter = {
    ...wanted,
    isTold,
    turn: undefined,
    tell: (turn) => {
      waiter.turn = turn;
      resolve();
    },
  };
  return waiter;
}

/** Takes waiters from the front of the list, as many as fit into one commit. */
function takeFrom(waiting: Waiter[], changes: number): Waiter[] {
  let total = changes;
  const end = waiting.findIndex(({ set }) => (total += set.changes.length) > maxChanges);
  return waiting.splice(0, end === -1 ? waiting.length : end);
}

function turnOf(outcome: ChangeSetOutcome | undefined, repository: string): Turn {
  return outcome === undefined ? { error: unknownOutcome(repository) } : { outcome };
}
