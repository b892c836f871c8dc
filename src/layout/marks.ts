/**
 * Marks: a gc marks a blob before it deletes the blob, so that a load that needs the blob can rescue it. A mark is one
 * small object, `condemned/<hex>`, and moves by compare and swap alone:
 *
 *     absent ---gc--> condemned ---gc, once its grace is over--> deleting --gc--> blob, then mark deleted
 *                      |     ^                                      |
 *                     load   gc, if still no image needs it    load, if its gc is surely dead
 *                      v     |                                      |
 *                      rescued <------------------------------------+
 *
 * Why no load loses a blob:
 *
 * - A load lists the marks before it looks for a blob. It rescues a condemned blob first. A rescue and the step to
 *   `deleting` start from the same state, so one of them fails.
 * - If a blob has no mark now, no gc deletes it within the shortest grace time. A load does not rely on a blob that it
 *   found more than 10 minutes ago (`rescuing-store.ts`).
 * - A gc deletes a blob only if the blob's mark was old enough when the run began. The gc looks for needed blobs after
 *   that. A load that publishes the blob meanwhile has found the mark and moved it. The moved mark is too young for
 *   this run.
 *
 * "Load" stands here for all work that publishes: a load, a push, a copy, a new tag.
 *
 * Two assumptions: a request without an answer takes effect within 15 minutes or never (S3 refuses a signature of that
 * age), and clocks differ by at most 15 minutes.
 */
import type { Digest } from "../digest.ts";
import { messageOf, StowageError } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import type { ObjectStore, Unanswered } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import { blobKey, condemnedPrefix, digestOfMarkKey, markKey } from "./keys.ts";
import type { Layout } from "./layout.ts";

const minuteMs = 60_000;
/** A request without an answer has taken effect after this time, or never will. */
const lateMs = 15 * minuteMs;
/** The largest difference between clocks. */
export const skewMs = 15 * minuteMs;
/** The time for which a load may rely on the blobs that it found. */
export const freshMs = 10 * minuteMs;
/** The longest time of a commit. A commit sends no write after this time (`index/commit-changes.ts`). */
const commitMs = 5 * minuteMs;

/**
 * The shortest time between a mark and the deletion of its blob. A load that saw no mark has committed by then, even if
 * both the mark and the commit took effect late, and the clocks differ.
 */
export const minGraceMs = freshMs + commitMs + lateMs + lateMs + skewMs;
/** A gc that has moved a mark to `deleting` deletes the blob within this time, or does not delete it. */
export const promptMs = commitMs;
/**
 * A mark that has been `deleting` for this time has lost its gc. All requests and commits of that gc have taken effect.
 */
export const staleMs = promptMs + commitMs + lateMs + skewMs;

const maxMarkBytes = 1000;

export type MarkState = "condemned" | "rescued" | "deleting";

export interface Mark {
  readonly state: MarkState;
  /** The time of the move to this state, in milliseconds since 1970, by the clock of the process that made it. */
  readonly time: number;
  readonly etag: string;
}

/** The mark of a blob, undefined if it has none. Throws `STORE_DAMAGED` if it cannot be read. */
export async function readMark(store: ObjectStore, digest: Digest, signal?: AbortSignal): Promise<Mark | undefined> {
  const key = markKey(digest);
  const found = await readSmallObject(store, key, { maxBytes: maxMarkBytes, signal });
  if (found === undefined) return undefined;
  try {
    return { ...parseMark(parseJson(found.bytes)), etag: found.etag };
  } catch (error) {
    throw new StowageError("STORE_DAMAGED", `Cannot read "${key}": ${messageOf(error)}`, { cause: error });
  }
}

/** The digests of at most `max` blobs that have a mark. */
export async function listMarks(
  store: ObjectStore,
  max: number,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<Digest>> {
  const marked = new Set<Digest>();
  for await (const { key } of store.list(condemnedPrefix, { signal })) {
    const digest = digestOfMarkKey(key);
    if (digest !== undefined) marked.add(digest);
    if (marked.size === max) break;
  }
  return marked;
}

/** The request is sent once: a second try could arrive late, after a load has moved the mark. */
export async function deleteMark(store: ObjectStore, digest: Digest): Promise<Unanswered | undefined> {
  return store.delete(markKey(digest), { once: true });
}

/** The request is sent once: a second try could arrive late, after a load has written the blob again. */
export async function deleteBlob(store: ObjectStore, digest: Digest): Promise<Unanswered | undefined> {
  return store.delete(blobKey(digest), { once: true });
}

/** `lost`: the mark is not in the expected state. `unanswered`: it is not known whether the mark moved. */
type MoveAnswer = "moved" | "lost" | "unanswered";

export interface MarkMove {
  /** The mark as it was read. Undefined if there was none. */
  readonly from: Mark | undefined;
  readonly to: MarkState;
}

/**
 * Moves a mark to its next state, if the mark is still the one that was read. The request is sent once. A second try
 * could meet the result of the first, and its answer would be `lost` although the mark moved.
 */
export async function moveMark(
  { store, clock }: Pick<Layout, "store" | "clock">,
  digest: Digest,
  { from, to }: MarkMove,
  signal?: AbortSignal,
): Promise<MoveAnswer> {
  // The random id makes the bytes of every state different, so no two states have the same ETag.
  const bytes = new TextEncoder().encode(JSON.stringify({ state: to, time: clock.now(), id: crypto.randomUUID() }));
  const condition = from === undefined ? "absent" : { etag: from.etag };
  const answer = await store.put(markKey(digest), bytes, { condition, once: true, signal });
  if (answer === "conflict") return "lost";
  return "etag" in answer ? "moved" : "unanswered";
}

function parseMark(json: unknown): Pick<Mark, "state" | "time"> {
  const { state, time } = isJsonObject(json) ? json : {};
  if (state !== "condemned" && state !== "rescued" && state !== "deleting") {
    throw new Error(`found the state ${describeJson(state)}, expected condemned, rescued or deleting`);
  }
  if (typeof time === "number") return { state, time };
  throw new Error(`found the time ${describeJson(time)}, expected milliseconds since 1970`);
}
