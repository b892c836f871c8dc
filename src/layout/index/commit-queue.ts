/**
 * Queues the commits of one process to one repository. Changes that come during a commit wait. The next commit makes
 * them together.
 */
import { systemClock } from "../../clock.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import { Batches } from "../../streams/batches.ts";
import { type CommitOptions, commitChanges, maxCommitMs } from "./commit-changes.ts";
import { unknownOutcome } from "./commit.ts";

/** The most changes in one commit. A single set may have more. */
const maxChanges = 1000;
/**
 * A waiter waits at most this long for the commit before its own, and at most this long for its own. Most commits take
 * less than a second. A commit that takes longer than this counts as gone.
 */
const maxBatchMs = 120_000;

/** The changes to commit, and their deadline. */
interface Wanted {
  readonly set: ChangeSet;
  readonly deadline: number;
}

export class CommitQueue {
  readonly #onCommit: CommitOptions["onCommit"];
  /** By repository, the commit that is under way, and the next one. */
  readonly #commits = new Batches<Wanted, readonly ChangeSetOutcome[]>({ maxMs: maxBatchMs, fits: fitsIntoCommit });

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
    const commitAll = async (all: readonly Wanted[]): Promise<readonly ChangeSetOutcome[]> =>
      commitChanges(
        repository,
        all.map((wanted) => wanted.set),
        { onCommit: this.#onCommit, ...options, deadline: Math.min(...all.map((wanted) => wanted.deadline)) },
      );
    const joined = await this.#commits.join(repository, { set, deadline }, commitAll);
    const outcome = joined?.result[joined.place];
    if (outcome === undefined) throw unknownOutcome(repository);
    return outcome;
  }
}

function fitsIntoCommit(all: readonly Wanted[]): boolean {
  return all.reduce((total, { set }) => total + set.changes.length, 0) <= maxChanges;
}
