/**
 * Intents: the changes of a writer who has lost a race, left in the store for whoever wins the next one to merge. One small
 * object each, which never changes, and is read by many.
 */
import type { Clock } from "../../clock.ts";
import { StowageError } from "../../errors.ts";
import type { ChangeSet } from "../../oci/index-change.ts";
import { isJsonObject, parseJson } from "../../oci/json.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import { readSmallObject } from "../../storage/read-small-object.ts";
import { intentsPrefix } from "../keys.ts";
import { isCommitId, timeOfCommit } from "./commit.ts";
import { type Seen, parseChangeSets, parseSeen } from "./parse-change.ts";
import { currentFormat } from "./repository-index.ts";

/** A load may publish 10,000 images in a repository, each with a referrer: some 10 MiB. */
export const maxIntentBytes = 16 * 1024 * 1024;

/** How long an intent may wait to be merged. */
export const maxWaitMs = 60_000;
/**
 * An intent that is so old has no writer any more, and nobody merges it: it is late by every clock that is right within a
 * quarter of an hour. So it makes no difference to anybody that it goes, nor if it comes back.
 */
const abandonedMs = 60 * 60_000;
/** How often an intent is sent that gets no answer, as long as it may be merged. */
const maxTries = 5;
/** For so long a try waits for its answer: a connection that says nothing is given up much later than an intent waits. */
const maxAnswerMs = 20_000;
/** Before the second try; twice as long before each further one. */
const firstWaitMs = 100;

export interface Intent {
  readonly id: string;
  readonly sets: readonly ChangeSet[];
  /** The state of the index that its writer had seen when it sent it. */
  readonly seen: Seen;
}

/** An intent as a listing shows it. */
export interface ListedIntent {
  readonly id: string;
  /** Length in bytes. */
  readonly size: number;
}

/**
 * Sends an intent, and again where no answer comes. Of all tries one can land, as long as it is there; but another may land
 * after it has been deleted, and would be merged again. So it may be deleted only if it was sent once. Returns how often it
 * was; whether it has arrived may not be known even then. Sends nothing again after `deadline`. Throws `LIMIT_EXCEEDED` if
 * others could not read it.
 */
export async function putIntent(
  { id, ...intent }: Intent,
  { clock, deadline, ...place }: IntentPlace & { readonly clock: Clock; readonly deadline: number },
): Promise<number> {
  const bytes = new TextEncoder().encode(JSON.stringify({ format: currentFormat, ...intent }));
  if (bytes.length > maxIntentBytes) throw tooLarge(place.repository, bytes.length);
  for (let tries = 1; ; tries++) {
    const signal = AbortSignal.timeout(maxAnswerMs);
    try {
      const answer = await place.store.put(keyOf(id, place), bytes, { condition: "absent", once: true, signal });
      if (answer === "conflict" || "etag" in answer) return tries;
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (tries === maxTries || clock.now() > deadline) return tries;
    await clock.sleep(clock.random() * firstWaitMs * 2 ** (tries - 1));
  }
}

function tooLarge(repository: string, found: number): StowageError {
  const message = `Cannot publish in "${repository}": others are at it, and the changes have ${found} bytes, at most ${maxIntentBytes} can wait`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { name: repository, found, expected: maxIntentBytes } });
}

/** Where a repository's intents are. */
export interface IntentPlace {
  readonly store: ObjectStore;
  readonly repository: string;
}

/** All that are there, the oldest first. What has another name was not left by a commit. */
export async function listIntents({ store, repository }: IntentPlace): Promise<ListedIntent[]> {
  const prefix = intentsPrefix(repository);
  const listed: ListedIntent[] = [];
  for await (const { key, size } of store.list(prefix)) {
    const id = key.slice(prefix.length);
    if (isCommitId(id)) listed.push({ id, size });
  }
  return listed.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/**
 * Undefined if it is gone: its writer knows what became of it then. Also if it cannot be read, such as one of another version
 * of Stowage: its writer can merge it, and nobody else has to wait for that. (Those of the first format do not say what their
 * writer had seen.)
 */
export async function readIntent(id: string, place: IntentPlace): Promise<Intent | undefined> {
  const found = await readSmallObject(place.store, keyOf(id, place), { maxBytes: maxIntentBytes });
  if (found === undefined) return undefined;
  try {
    const json = parseJson(found.bytes);
    if (!isJsonObject(json) || json["format"] !== currentFormat) return undefined;
    return { id, sets: parseChangeSets(json["sets"]), seen: parseSeen(json["seen"]) };
  } catch {
    return undefined;
  }
}

/** Is it too old to be merged by others than its writer? */
export function isLate(id: string, clock: Clock): boolean {
  return clock.now() - timeOfCommit(id) > maxWaitMs;
}

export function isAbandoned(id: string, clock: Clock): boolean {
  return clock.now() - timeOfCommit(id) > abandonedMs;
}

/** It costs nobody anything if it stays: whoever merges later deletes it. */
export async function deleteIntent(id: string, place: IntentPlace): Promise<void> {
  await place.store.delete(keyOf(id, place)).catch(() => undefined);
}

function keyOf(id: string, { repository }: IntentPlace): string {
  return intentsPrefix(repository) + id;
}
