/**
 * What writers asked for and what they were told, and whether it can be true: is there one order of all operations, each at
 * some moment between its call and its return, in which a repository's index would have given these very answers? (Wing and
 * Gong's search; histories are short.) An operation without an outcome may have happened at any time after its call, in
 * whole, or never. But once its writer is dead, or has given up, it does not change what somebody else has changed who began
 * later and was told so.
 */
import type { ChangeSet, ChangeSetOutcome } from "../../src/oci/index-change.ts";
import { mergeIndex } from "../../src/layout/index/merge-index.ts";
import { type RepositoryIndex, emptyIndex } from "../../src/layout/index/repository-index.ts";
import { tagOf } from "../../src/oci/index-entry.ts";

interface OperationTimes {
  /** When it was called and when it returned, by the recorder's count. */
  readonly calledAt: number;
  readonly returnedAt: number;
}

interface CommitOperation extends OperationTimes {
  readonly set: ChangeSet;
  readonly outcome: ChangeSetOutcome | undefined;
  /** If there is no outcome: when its writer had sent its last request, by the recorder's count. */
  readonly endedAt: number;
}

interface ReadOperation extends OperationTimes {
  /** What was visible, by `visibleState`. */
  readonly seen: string;
}

export type Operation = CommitOperation | ReadOperation;

/** A commit under way. */
export interface RecordedCommit {
  readonly tell: (outcomes: readonly ChangeSetOutcome[]) => void;
  /** Its writer sends no more requests, and was told nothing. */
  readonly end: () => void;
}

/** Records the operations of one repository. */
export class History {
  readonly operations: Operation[] = [];
  #count = 0;

  /** Each set goes in by itself. */
  commit(sets: readonly ChangeSet[]): RecordedCommit {
    const calledAt = this.#count++;
    const place = this.operations.length;
    const record = (outcomes: readonly (ChangeSetOutcome | undefined)[], returnedAt: number, endedAt: number): void => {
      const recorded = sets.map((set, i) => ({ set, outcome: outcomes[i], calledAt, returnedAt, endedAt }));
      this.operations.splice(place, sets.length, ...recorded);
    };
    record([], Infinity, Infinity);
    return {
      tell: (outcomes) => record(outcomes, this.#count++, Infinity),
      end: () => record([], Infinity, this.#count++),
    };
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

/** What is known after some of the operations. */
interface Point {
  readonly index: RepositoryIndex;
  /** By name, when the latest of those was called that have changed it and were told so. */
  readonly changedAt: ReadonlyMap<string, number>;
}

export interface HistoryRules {
  /** What a dead writer has left may undo what is newer. */
  readonly forgivesTheDead?: boolean;
}

export function isLinearizable(operations: readonly Operation[], { forgivesTheDead = false }: HistoryRules): boolean {
  const knownFirst = operations.toSorted((a, b) => a.returnedAt - b.returnedAt);
  const visited = new Set<string>();

  /** Is there an order for those that are not `done`, from this point on? */
  const search = (done: ReadonlySet<Operation>, point: Point): boolean => {
    const open = knownFirst.filter((operation) => !done.has(operation));
    const firstReturn = open[0]?.returnedAt ?? Infinity;
    if (firstReturn === Infinity) return true;
    const doneBits = knownFirst.map((operation) => (done.has(operation) ? 1 : 0)).join("");
    const place = `${doneBits} ${visibleState(point.index)} ${JSON.stringify([...point.changedAt].map(String).toSorted())}`;
    if (visited.has(place)) return false;
    visited.add(place);
    return open.some((operation) => {
      if (operation.calledAt > firstReturn) return false;
      const next = follow(forgivesTheDead ? { ...point, changedAt: new Map() } : point, operation);
      return next !== undefined && search(new Set([...done, operation]), next);
    });
  };

  return search(new Set(), { index: emptyIndex, changedAt: new Map() });
}

/** What follows the operation, or undefined if it could not have given its answer, or not have happened any more. */
function follow(point: Point, operation: Operation): Point | undefined {
  const { index, changedAt } = point;
  if ("seen" in operation) return operation.seen === visibleState(index) ? point : undefined;
  const { set, outcome, calledAt, endedAt } = operation;
  if (outcome !== undefined && isExpired(outcome)) return point;
  const merged = mergeIndex(index, [set], 0);
  const changed = changedNames(index, merged.index);
  if (outcome === undefined) {
    const isOver = changed.some((name) => (changedAt.get(name) ?? -1) > endedAt);
    return isOver ? undefined : { index: merged.index, changedAt };
  }
  if (JSON.stringify(merged.outcomes) !== JSON.stringify([outcome])) return undefined;
  const latest = changed.map((name): [string, number] => [name, Math.max(calledAt, changedAt.get(name) ?? -1)]);
  return { index: merged.index, changedAt: new Map([...changedAt, ...latest]) };
}

function isExpired(outcome: ChangeSetOutcome): boolean {
  return "failed" in outcome && outcome.failed === "expired";
}

/** The tags and digests that are not at what they were at before, or were removed, or are no longer removed. */
function changedNames(before: RepositoryIndex, after: RepositoryIndex): string[] {
  const [old, now] = [namesOf(before), namesOf(after)];
  return [...new Set([...old.keys(), ...now.keys()])].filter((name) => old.get(name) !== now.get(name));
}

function namesOf({ entries, removed }: RepositoryIndex): Map<string, string> {
  return new Map([
    ...removed.map((digest): [string, string] => [digest, "removed"]),
    ...entries.map((entry): [string, string] => [tagOf(entry) ?? entry.digest, entry.digest]),
  ]);
}

/** What an index shows to those who pull. */
export function visibleState({ entries, removed }: RepositoryIndex): string {
  const names = entries.map((entry) => `${tagOf(entry) ?? ""}@${entry.digest}`);
  return [...names.toSorted(), "removed", ...removed].join(" ");
}
