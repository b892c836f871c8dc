/** Changes a repository's index. Everything that changes an index calls `updateRepository`. */
import { limitExceeded, StowageError } from "../errors.ts";
import { maxEntriesBytes } from "../limits.ts";
import type { Change, ChangeOutcome, ChangeSet, ChangeSetOutcome, Expectation, Refusal } from "../oci/index-change.ts";
import { formatReference } from "../oci/reference.ts";
import { type TagPattern, tagPatternsOf } from "../oci/tag-pattern.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { isCommitId } from "./index/commit.ts";
import { readIndexInTurn } from "./index/index-state.ts";
import { isAbandoned } from "./index/intent.ts";
import { mergeWithinLimit, nameOf } from "./index/merge-index.ts";
import { allIntentsPrefix } from "./keys.ts";
import type { Layout } from "./layout.ts";

/** Who changes tags, and what may forbid it. */
export interface TagConditions extends Requester {
  /** What each tag or digest must name before it changes: this digest, or nothing (`absent`). */
  readonly expects?: Expectation | undefined;
  /** Tags that can be created, but never moved or removed. */
  readonly immutableTags?: readonly TagPattern[] | undefined;
}

/** Changes of one repository that are made together, or not at all. */
export interface RepositoryUpdate extends Pick<TagConditions, "immutableTags"> {
  readonly repository: string;
  readonly changes: readonly Change[];
}

/**
 * Makes all changes in one step, or none of them. Returns the outcome of each change. Throws `TAG_IMMUTABLE` or
 * `CONDITION_FAILED` if a change is not allowed, `LIMIT_EXCEEDED` if the index would become too large, and
 * `COMMIT_CONFLICT` if no writer made the changes in time. Throws `STORE_UNAVAILABLE` if the store fails, also if it is
 * not known whether the changes were made.
 */
export async function updateRepository(
  { store, commits, clock, budget }: Layout,
  update: RepositoryUpdate,
  { caller }: Pick<Requester, "caller"> = {},
): Promise<readonly ChangeOutcome[]> {
  const options = { store, clock, budget, caller };
  return outcomesOrThrow(await commits.commit(update.repository, changeSetOf(update), options), update);
}

/** Makes no change. Throws what `updateRepository` would throw for the repository as it is now. */
export async function checkUpdate(
  { store, budget, clock }: Layout,
  update: RepositoryUpdate,
  requester: Requester,
): Promise<void> {
  const { index } = await readIndexInTurn(store, update.repository, { budget, ...requester });
  const { outcomes } = mergeWithinLimit(index, [changeSetOf(update)], clock.now());
  for (const outcome of outcomes) outcomesOrThrow(outcome, update);
}

function changeSetOf({ repository, changes, immutableTags = [] }: RepositoryUpdate): ChangeSet {
  return { changes, immutableTags: tagPatternsOf(immutableTags, repository) };
}

function outcomesOrThrow(outcome: ChangeSetOutcome, update: RepositoryUpdate): readonly ChangeOutcome[] {
  if ("changes" in outcome) return outcome.changes;
  throw "refused" in outcome ? refusalOf(outcome.refused, update) : failureOf(outcome.failed, update.repository);
}

function refusalOf({ reason, reference, found }: Refusal, { repository, changes }: RepositoryUpdate): StowageError {
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
 * Deletes the intents of dead writers in all repositories. Every merge deletes them in its own repository. But the
 * repository of a killed writer may never have another merge.
 */
export async function sweepIntents({ store, clock }: Layout, signal: AbortSignal | undefined): Promise<void> {
  for await (const { key } of store.list(allIntentsPrefix, { signal })) {
    const id = key.slice(key.lastIndexOf("/") + 1);
    if (isCommitId(id) && isAbandoned(id, clock)) await store.delete(key, { signal }); // another name is not an intent
  }
}
