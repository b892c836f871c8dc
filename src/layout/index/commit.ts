/**
 * Names of commits and intents: `<milliseconds since 1970>-<random>`, both in hexadecimal and of one length, so that they
 * sort by age. Age decides who goes first, how long an intent may wait, and when one that was left is deleted. That is safe if
 * clocks are right within a quarter of an hour.
 */
import type { Clock } from "../../clock.ts";
import { messageOf, StowageError } from "../../errors.ts";
import type { ChangeSet } from "../../oci/index-change.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { LineMemory } from "../../streams/byte-budget.ts";

/** A commit under way. One that goes by way of intents has another id for each of them. */
export interface Commit {
  readonly id: string;
  readonly repository: string;
  readonly sets: readonly ChangeSet[];
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly deadline: number;
  /** For the index, and for the intents that are merged. */
  readonly memory: LineMemory | undefined;
}

const timeDigits = 12;

/** An intent takes so much of the age of its commit, and no more, so that there is time left to merge it. */
const maxAgeMs = 10_000;
/** The most by which the clocks of others move the id of an intent forward. */
const maxSkewMs = 15 * 60_000;

export function newCommitId(clock: Clock): string {
  return makeId(clock.now(), clock);
}

export interface Earlier {
  /** The id of the intent's own commit. */
  readonly commit: string;
  /** The latest commits in the index. */
  readonly commits: readonly string[];
  /** The intents that are there. */
  readonly intents: readonly string[];
}

/**
 * Makes the id of an intent: as old as its commit, but no older than the latest commits, and later than the intents that are
 * there. So what a dead writer has left comes before it by every clock. And if this clock is slow, the intent is not too old
 * for writers whose clock is right, since these have made the latest commits.
 */
export function newIntentId(clock: Clock, { commit, commits, intents }: Earlier): string {
  const now = clock.now();
  const times = [...commits.filter(isCommitId).map(timeOfCommit), ...intents.map((id) => timeOfCommit(id) + 1)];
  const latest = Math.min(Math.max(0, ...times), now + maxSkewMs);
  return makeId(Math.max(timeOfCommit(commit), now - maxAgeMs, latest), clock);
}

/** A number that has nothing to do with age: the same for everybody, and another for each id. */
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

/** When the id was made, in milliseconds since 1970. */
export function timeOfCommit(id: string): number {
  return Number.parseInt(id.slice(0, timeDigits), 16);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

// The error of a commit that ends in doubt.

/** The changes were made whole, or will be, or not at all: nobody who was asked could tell. */
export function unknownOutcome(repository: string, cause?: unknown): StowageError {
  const why = cause === undefined ? "the store did not answer" : messageOf(cause);
  const message = `Cannot tell whether the changes of "${repository}" were made, they may yet be: ${why}; try again`;
  return new StowageError("STORE_UNAVAILABLE", message, { cause, detail: { name: repository } });
}
