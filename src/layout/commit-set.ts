/** Changes a repository's index. Loads and deletions reach `layout/index/` through this file. */
import { limitExceeded, StowageError } from "../errors.ts";
import { maxEntriesBytes } from "../limits.ts";
import type { ChangeOutcome, ChangeSet, ChangeSetOutcome, Expectation, Refusal } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { isCommitId } from "./index/commit.ts";
import { readIndexInTurn } from "./index/index-state.ts";
import { isAbandoned } from "./index/intent.ts";
import { mergeWithinLimit, nameOf } from "./index/merge-index.ts";
import { allIntentsPrefix } from "./keys.ts";
import type { Layout, Turn } from "./layout.ts";

/** Who changes tags, and what may forbid it. */
export interface TagTurn extends Turn {
  /** What each tag or digest must name before it changes: this digest, or nothing (`absent`). */
  readonly expects?: Expectation | undefined;
  /** Tags that can be created, but never moved or removed. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
}

/** Changes of one repository. */
export interface RepositoryChanges extends ChangeSet {
  readonly repository: string;
}

/**
 * Makes all changes in one step, or none of them. Returns the outcome of each change. Throws `TAG_IMMUTABLE` or
 * `CONDITION_FAILED` if a change is not allowed, `LIMIT_EXCEEDED` if the index would become too large, and `COMMIT_CONFLICT` if
 * no writer made the changes in time. Throws `STORE_UNAVAILABLE` if the store fails, also if it is not known whether the
 * changes were made.
 */
export async function commitSet(
  { store, commits, clock, budget }: Layout,
  { repository, ...set }: RepositoryChanges,
  { caller }: Pick<Turn, "caller"> = {},
): Promise<readonly ChangeOutcome[]> {
  return changesOf(await commits.commit(repository, set, { store, clock, budget, caller }), repository, set);
}

/** Makes no change. Throws what `commitSet` would throw for the repository as it is now. */
export async function checkSet(
  { store, budget, clock }: Layout,
  { repository, ...set }: RepositoryChanges,
  turn: Turn,
): Promise<void> {
  const { index } = await readIndexInTurn(store, repository, { budget, ...turn });
  for (const outcome of mergeWithinLimit(index, [set], clock.now()).outcomes) changesOf(outcome, repository, set);
}

function changesOf(outcome: ChangeSetOutcome, repository: string, set: ChangeSet): readonly ChangeOutcome[] {
  if ("changes" in outcome) return outcome.changes;
  throw "refused" in outcome ? refusalOf(outcome.refused, repository, set) : failureOf(outcome.failed, repository);
}

function refusalOf({ reason, reference, found }: Refusal, repository: string, { changes }: ChangeSet): StowageError {
  if (reason === "unexpected") {
    const expects = changes
      .map((change) => ("expects" in change && nameOf(change) === reference ? change.expects : undefined))
      .find((expectation) => expectation !== undefined);
    return conditionFailed({ repository, reference, found, expects });
  }
  const name = formatReference(repository, reference);
  const message = `Cannot change "${name}": it is at ${found}, and a tag like this never moves and is never removed`;
  return new StowageError("TAG_IMMUTABLE", message, { detail: { name: repository, reference, found } });
}

function failureOf(failed: Extract<ChangeSetOutcome, { failed: unknown }>["failed"], repository: string): StowageError {
  if (failed === "full") {
    const problem = `Cannot publish in "${repository}": its index would have too many bytes`;
    return limitExceeded(problem, { name: repository, expected: maxEntriesBytes });
  }
  const message = `Cannot change "${repository}": other writers were faster again and again, or this one was held up; try again`;
  return new StowageError("COMMIT_CONFLICT", message, { detail: { name: repository } });
}

interface FailedCondition {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** The digest that the reference has now, if it has one. */
  readonly found: string | undefined;
  readonly expects: Expectation | undefined;
}

export function conditionFailed({ repository, reference, found, expects }: FailedCondition): StowageError {
  const expected = expects === "absent" ? undefined : expects?.digest;
  const name = formatReference(repository, reference);
  const message = `Cannot change "${name}": found ${found ?? "nothing"} there, expected ${expected ?? "nothing"}`;
  return new StowageError("CONDITION_FAILED", message, { detail: { name: repository, reference, found, expected } });
}

/**
 * Deletes the intents of dead writers in all repositories. Every merge deletes them in its own repository. But the repository
 * of a killed writer may never have another merge.
 */
export async function sweepIntents({ store, clock }: Layout, signal: AbortSignal | undefined): Promise<void> {
  for await (const { key } of store.list(allIntentsPrefix, { signal })) {
    const id = key.slice(key.lastIndexOf("/") + 1);
    if (isCommitId(id) && isAbandoned(id, clock)) await store.delete(key, { signal }); // another name is not an intent
  }
}
