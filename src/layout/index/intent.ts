/**
 * Reads and writes intents. A writer that has lost a race leaves its changes in the store as an intent: one small
 * object that never changes. The winner of the next race merges it.
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

/**
 * The most bytes of an intent. A load may publish 10,000 images in a repository, each with a referrer: about 10 MiB.
 */
export const maxIntentBytes = 16 * 1024 * 1024;

/** How long an intent may wait to be merged. */
export const maxWaitMs = 60_000;
/**
 * An intent of this age is abandoned. Its writer is gone, and no other writer merges it, even if clocks are wrong by 15
 * minutes. So any writer may delete it. It does no harm if it lands again.
 */
const abandonedMs = 60 * 60_000;
/** An intent without an answer is sent at most this often. */
const maxTries = 5;
/**
 * A try waits this long for its answer. Without this limit, a client would wait on a silent connection for much longer
 * than an intent may wait.
 */
const maxAnswerMs = 20_000;
/** The wait before the second try. Each further wait is twice as long. */
const firstWaitMs = 100;

export interface Intent {
  readonly id: string;
  readonly sets: readonly ChangeSet[];
  /** The state of the index that the writer had seen when it sent the intent. */
  readonly seen: Seen;
}

/** An intent as a listing shows it. */
export interface ListedIntent {
  readonly id: string;
  /** Length in bytes. */
  readonly size: number;
}

/**
 * Sends an intent, and sends it again if no answer comes. Returns the number of tries. Even then it may not be known
 * whether the intent has arrived. While the intent is in the store, no other try can land. But a late try could land
 * after a deletion, and would be merged again. So the intent may be deleted only after a single try. Nothing is sent
 * again after `deadline`. Throws `LIMIT_EXCEEDED` if the intent is too large for other writers to read.
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
interface IntentPlace {
  readonly store: ObjectStore;
  readonly repository: string;
}

/** All intents of a repository, the oldest first. Skips an object whose name is not an id. */
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
 * Reads an intent. Returns undefined if the intent is gone: its writer knows the outcome then. Also returns undefined
 * if the intent cannot be read, for example if another version of Stowage wrote it. Its own writer can still merge it,
 * and other writers need not wait. (Intents of the first format do not say what their writer had seen.)
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

/** Is the intent too old for other writers to merge it? Its own writer still can. */
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
