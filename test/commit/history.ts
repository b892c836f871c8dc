/**
 * What writers asked for and what they were told, and whether it can be true: is there one order of all operations, each at
 * some moment between its call and its return, in which a repository's index would have given these very answers? (Wing and
 * Gong's search; histories are short.) An operation without an outcome may have happened at any time after its call, in
 * whole, or never.
 */
import type { ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import { mergeIndex } from "../../src/oci/merge-index.ts";
import { type RepositoryIndex, emptyIndex, tagOf } from "../../src/oci/repository-index.ts";

interface OperationTimes {
  /** When it was called and when it returned, by the recorder's count. */
  readonly calledAt: number;
  readonly returnedAt: number;
}

/** Sets of changes that went in as one. */
interface CommitOperation extends OperationTimes {
  readonly sets: readonly ChangeSet[];
  readonly outcomes: readonly ChangeSetOutcome[] | undefined;
}

interface ReadOperation extends OperationTimes {
  /** What was visible, by `visibleState`. */
  readonly seen: string;
}

export type Operation = CommitOperation | ReadOperation;

/** Records the operations of one repository. */
export class History {
  readonly operations: Operation[] = [];
  #count = 0;

  /** Calls `commit` and records its outcomes, or that they are unknown where it returns undefined or never. */
  async commit(
    sets: readonly ChangeSet[],
    commit: () => Promise<readonly ChangeSetOutcome[] | undefined>,
  ): Promise<readonly ChangeSetOutcome[] | undefined> {
    const calledAt = this.#count++;
    const place = this.operations.push({ sets, outcomes: undefined, calledAt, returnedAt: Infinity }) - 1;
    const outcomes = await commit();
    if (outcomes !== undefined) this.operations[place] = { sets, outcomes, calledAt, returnedAt: this.#count++ };
    return outcomes;
  }

  /** Calls `read` and records what it saw, if it saw anything. */
  async read(read: () => Promise<RepositoryIndex | undefined>): Promise<void> {
    const calledAt = this.#count++;
    const index = await read();
    if (index !== undefined) {
      this.operations.push({ seen: visibleState(index), calledAt, returnedAt: this.#count++ });
    }
  }
}

export function isLinearizable(operations: readonly Operation[]): boolean {
  const knownFirst = operations.toSorted((a, b) => a.returnedAt - b.returnedAt);
  const visited = new Set<string>();

  /** Is there an order for those that are not `done`, from this state on? */
  const search = (done: ReadonlySet<Operation>, index: RepositoryIndex): boolean => {
    const open = knownFirst.filter((operation) => !done.has(operation));
    const firstReturn = open[0]?.returnedAt ?? Infinity;
    if (firstReturn === Infinity) return true;
    const place = `${knownFirst.map((operation) => (done.has(operation) ? 1 : 0)).join("")} ${visibleState(index)}`;
    if (visited.has(place)) return false;
    visited.add(place);
    return open.some((operation) => {
      if (operation.calledAt > firstReturn) return false;
      const next = follow(index, operation);
      return next !== undefined && search(new Set([...done, operation]), next);
    });
  };

  return search(new Set(), emptyIndex);
}

/** The state after the operation, or undefined if it could not have given its answer in this state. */
function follow(index: RepositoryIndex, operation: Operation): RepositoryIndex | undefined {
  if ("seen" in operation) return operation.seen === visibleState(index) ? index : undefined;
  const { sets, outcomes } = operation;
  if (outcomes !== undefined && outcomes.length > 0 && outcomes.every(isExpired)) return index;
  const merged = mergeIndex(index, sets);
  if (outcomes === undefined) return merged.index;
  return JSON.stringify(merged.outcomes) === JSON.stringify(outcomes) ? merged.index : undefined;
}

function isExpired(outcome: ChangeSetOutcome): boolean {
  return "failed" in outcome && outcome.failed === "expired";
}

/** What an index shows to those who pull. */
export function visibleState({ entries, removed }: RepositoryIndex): string {
  const names = entries.map((entry) => `${tagOf(entry) ?? ""}@${entry.digest}`);
  return [...names.toSorted(), "removed", ...removed].join(" ");
}
