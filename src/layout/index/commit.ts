/**
 * Ids of commits and intents: `<milliseconds since 1970>-<random>`. Both numbers are hexadecimal with a fixed length,
 * so ids sort by age. Age decides which intent is merged first, how long an intent may wait, and when an abandoned
 * intent is deleted. That is safe if clocks are wrong by at most 15 minutes.
 */
import type { Clock } from "../../clock.ts";
import { messageOf, StowageError } from "../../errors.ts";
import type { ChangeSet } from "../../oci/index-change.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { LineMemory } from "../../streams/byte-budget.ts";

/** A commit under way. A commit by way of intents has a different id for each intent. */
export interface Commit {
  readonly id: string;
  readonly repository: string;
  readonly sets: readonly ChangeSet[];
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly deadline: number;
  /** Memory for the index and for the merged intents. */
  readonly memory: LineMemory | undefined;
  /** Called before each try to write the index. */
  readonly onTry?: (() => void) | undefined;
}

const timeDigits = 12;

/**
 * An intent that is made late in its commit gets a time that is at most this old. So enough time is left to merge it.
 */
const maxAgeMs = 10_000;
/** The clocks of other writers move the time of an intent forward by at most this. */
const maxSkewMs = 15 * 60_000;

export function newCommitId(clock: Clock): string {
  return makeId(clock.now(), clock);
}

interface Earlier {
  /** The id of the intent's own commit. */
  readonly commit: string;
  /** The latest commits in the index. */
  readonly commits: readonly string[];
  /** The intents that are in the store. */
  readonly intents: readonly string[];
}

/**
 * Makes the id of an intent. Its time is the time of the commit, but not before the latest commits in the index, and
 * after every intent in the store. So the intents of dead writers come before it, even if clocks are wrong. If this
 * writer's clock is slow, the latest commits by right clocks move the time forward. Then the intent does not look too
 * old to other writers.
 */
export function newIntentId(clock: Clock, { commit, commits, intents }: Earlier): string {
  const now = clock.now();
  const times = [...commits.filter(isCommitId).map(timeOfCommit), ...intents.map((id) => timeOfCommit(id) + 1)];
  const latest = Math.min(Math.max(0, ...times), now + maxSkewMs);
  return makeId(Math.max(timeOfCommit(commit), now - maxAgeMs, latest), clock);
}

/** The random part of an id. It gives the same order to all writers, and the order does not depend on age. */
export function lotOf(id: string): string {
  return id.slice(timeDigits);
}

function makeId(time: number, clock: Clock): string {
  const words = Array.from({ length: 3 }, () => hex(Math.floor(clock.random() * 2 ** 32), 8));
  return `${hex(time, timeDigits)}-${words.join("")}`;
}

export function isCommitId(text: string): boolean {
  return /^[0-9a-f]{12}-[0-9a-f]{24}$/.test(text);
}

/** The time in an id, in milliseconds since 1970. */
export function timeOfCommit(id: string): number {
  return Number.parseInt(id.slice(0, timeDigits), 16);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** The error of a commit whose outcome is not known: all its changes were made, or will be made, or none of them. */
export function unknownOutcome(repository: string, cause?: unknown): StowageError {
  const why = cause === undefined ? "the store did not answer" : messageOf(cause);
  const message = `Cannot tell whether the changes of "${repository}" were made or will be made: ${why}; try again`;
  return new StowageError("STORE_UNAVAILABLE", message, { cause, detail: { name: repository } });
}
