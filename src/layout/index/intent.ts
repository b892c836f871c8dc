/**
 * Intents. A writer that has lost a race leaves its changes in the store, and the winner of the next race merges them. An intent
 * is one small object that never changes and that many read.
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
 * An intent of this age has no writer any more, and no writer merges it: it is late by every clock that is right within a
 * quarter of an hour. So it can be deleted, and it does no harm if it comes back.
 */
const abandonedMs = 60 * 60_000;
/** An intent without an answer is sent at most this often. */
const maxTries = 5;
/** A try waits this long for its answer. A client gives up a silent connection much later than an intent may wait. */
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

/** All intents of a repository, the oldest first. An object with another kind of name is no intent. */
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

/** Is the intent too old to be merged by another writer than its own? */
export function isLate(id: string, clock: Clock): boolean {
  return clock.now() - timeOfCommit(id) > maxWaitMs;
}

export function isAbandoned(id: string, clock: Clock): boolean {
  return clock.now() - timeOfCommit(id) > abandonedMs;
}

/** Does nothing if the store fails: a later merge deletes the intent. */
export async function deleteIntent(id: string, place: IntentPlace): Promise<void> {
  await place.store.delete(keyOf(id, place)).catch(() => undefined);
}

function keyOf(id: string, { repository }: IntentPlace): string {
  return intentsPrefix(repository) + id;
}
