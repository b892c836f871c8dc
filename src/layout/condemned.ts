/**
 * Marks: what a gc says of a blob before it deletes it, so that a load that needs the blob can object. One small object for
 * each blob, `condemned/<64 hex>`, moved by compare and swap alone:
 *
 *     absent ---gc--> condemned ---gc, once its grace is over--> deleting --gc--> blob, then mark deleted
 *                      |     ^                                      |
 *                     load   gc, if still no image needs it    load, once its gc is surely dead
 *                      v     |                                      |
 *                      rescued <------------------------------------+
 *
 * Why no blob is taken from under a load. A load lists the marks, and asks of a blob only then. One that is condemned it
 * rescues first: of a rescue and the step to `deleting`, which both start from the same state, one fails. One without a mark
 * is safe for at least the shortest grace from then on, and no load rests on what it found for as long as that
 * (`rescuing-store.ts`). What a gc takes for unneeded it decides after it has listed the marks, and it deletes only under a
 * mark that is the very one it has listed: whoever published the blob in between has found that mark, and moved it.
 *
 * It rests on two assumptions: that a request without an answer takes effect within a quarter of an hour or never (S3
 * refuses it by then for its signature's age), and that clocks differ by no more than that.
 */
import type { Clock } from "../clock.ts";
import { messageOf, StowageError } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import type { CallOptions, ObjectStore, Unanswered } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import { blobKey, condemnedPrefix, digestOfBlobKey, digestOfMarkKey, markKey } from "./keys.ts";
import type { Layout } from "./layout.ts";

const minuteMs = 60_000;
/** After this time a request that got no answer has taken effect or never will. */
const lateMs = 15 * minuteMs;
/** By so much clocks may differ. */
const skewMs = 15 * minuteMs;
/** For so long a load may rest on what it found. */
export const freshMs = 10 * minuteMs;
/** For so long a commit is under way: none of its writes is sent later (`commit/commit-changes.ts`). */
const commitMs = 5 * minuteMs;

/**
 * The shortest time that a mark has to be there before its blob may be deleted. A load that saw no mark is over by then: it
 * commits soon enough, also if the commit, as the mark before it, took effect late, and by whichever clock.
 */
export const minGraceMs = freshMs + commitMs + lateMs + lateMs + skewMs;
/** A gc that has moved a mark to `deleting` acts on it within this time, or leaves it. */
export const promptMs = commitMs;
/** So a mark that has been `deleting` for so long has lost its gc, and what that had sent, or committed, has taken effect. */
export const staleMs = promptMs + commitMs + lateMs + skewMs;

const maxMarkBytes = 1000;

export type MarkState = "condemned" | "rescued" | "deleting";

export interface Mark {
  readonly state: MarkState;
  /** When it came into this state, in milliseconds since 1970, by the clock of whoever brought it there. */
  readonly time: number;
  readonly etag: string;
}

/** The mark of a blob, undefined if it has none. Throws `STORE_DAMAGED` if it cannot be read. */
export async function readMark(store: ObjectStore, digest: string, signal?: AbortSignal): Promise<Mark | undefined> {
  const key = markKey(digest);
  const found = await readSmallObject(store, key, { maxBytes: maxMarkBytes, signal });
  if (found === undefined) return undefined;
  try {
    return { ...parseMark(parseJson(found.bytes)), etag: found.etag };
  } catch (error) {
    throw new StowageError("STORE_DAMAGED", `Cannot read "${key}": ${messageOf(error)}`, { cause: error });
  }
}

/** Marks that one run of gc looks at, old and new together. What is beyond them waits for the next run. */
export const maxMarks = 100_000;

/** The ETag of each mark, by digest. */
export async function listMarks(store: ObjectStore, signal: AbortSignal | undefined): Promise<Map<string, string>> {
  const marks = new Map<string, string>();
  for await (const { key, etag } of store.list(condemnedPrefix, { signal })) {
    const digest = digestOfMarkKey(key);
    if (digest !== undefined) marks.set(digest, etag);
    if (marks.size === maxMarks) break;
  }
  return marks;
}

/** Sent once: a second try could take effect after the mark of a load. */
export async function deleteMark(store: ObjectStore, digest: string): Promise<Unanswered | undefined> {
  return store.delete(markKey(digest), { once: true });
}

/** Sent once: a second try could take effect after a load has written the blob again. */
export async function deleteBlob(store: ObjectStore, digest: string): Promise<Unanswered | undefined> {
  return store.delete(blobKey(digest), { once: true });
}

/** `lost`: the mark is not, or no longer, what it was expected to be. `unanswered`: nobody knows. */
export type MoveAnswer = "moved" | "lost" | "unanswered";

export interface MarkMove {
  /** The mark as it was read, undefined where there was none. */
  readonly from: Mark | undefined;
  readonly to: MarkState;
}

/** Moves a mark on, if it still is as it was read. Sent once: the answer to a second try would be about the first. */
export async function moveMark(
  { store, clock }: Pick<Layout, "store" | "clock">,
  digest: string,
  { from, to }: MarkMove,
  signal?: AbortSignal,
): Promise<MoveAnswer> {
  // The id makes no two states alike, so that none has the ETag of another.
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

// A store as a load sees it: no blob is looked at before its mark is, and one that a gc has condemned is rescued first. So
// whatever is found present stays, for long enough to publish it; `mark.ts` has the argument.

/** Marks that one listing takes; where there are more, each blob's own is asked for. */
const maxListedMarks = 1000;
/** For so long a load waits while a blob that it needs is being deleted; that takes a gc two requests. */
const maxWaitMs = 30_000;
const firstWaitMs = 20;
const longestWaitMs = 1000;

/** One look at all marks, and what was done about some of them since. */
interface Look {
  /** When it began: what is known from it is true of that time. */
  readonly time: number;
  /** The keys of all marks, undefined where there are too many. */
  readonly marked: Promise<ReadonlySet<string> | undefined>;
  /** By digest. */
  readonly rescues: Map<string, Promise<void>>;
}

/** The store of one load. */
export class RescuingStore extends ForwardingStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  #look: Look | undefined;
  #oldestTime: number | undefined;

  constructor(store: ObjectStore, clock: Clock) {
    super(store);
    this.#store = store;
    this.#clock = clock;
  }

  override async head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    await this.#rescue(args[0], args[1]);
    return super.head(...args);
  }

  override async get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    await this.#rescue(args[0], args[1]);
    return super.get(...args);
  }

  /** Has a gc marked anything, as far as a look tells that is not old? */
  async hasMarks({ signal }: CallOptions = {}): Promise<boolean> {
    return (await this.#freshLook(signal).marked)?.size !== 0;
  }

  /** Rescues a blob that is needed, though nobody looks at it. */
  async keep(digest: string, options?: CallOptions): Promise<void> {
    await this.#rescue(blobKey(digest), options);
  }

  /** May what was found here still be relied on, all of it? */
  get isFresh(): boolean {
    return this.#oldestTime === undefined || this.#clock.now() - this.#oldestTime <= freshMs;
  }

  /** Forgets what was found: whoever calls this finds everything again. */
  renew(): void {
    this.#look = undefined;
    this.#oldestTime = undefined;
  }

  /** Before it is asked for, not beside it: a mark goes once its blob is deleted, and nothing would tell. */
  async #rescue(key: string, { signal }: CallOptions = {}): Promise<void> {
    const digest = digestOfBlobKey(key);
    if (digest === undefined) return;
    const look = this.#freshLook(signal);
    const marked = await look.marked;
    if (marked?.has(markKey(digest)) === false) return;
    const rescue = look.rescues.get(digest) ?? this.#rescueBlob(digest, signal);
    look.rescues.set(digest, rescue);
    await rescue;
  }

  #freshLook(signal: AbortSignal | undefined): Look {
    const time = this.#clock.now();
    if (this.#look !== undefined && time - this.#look.time <= freshMs) return this.#look;
    this.#oldestTime ??= time;
    this.#look = { time, marked: this.#listMarks(signal), rescues: new Map() };
    return this.#look;
  }

  async #listMarks(signal: AbortSignal | undefined): Promise<ReadonlySet<string> | undefined> {
    const marked = new Set<string>();
    for await (const { key } of this.#store.list(condemnedPrefix, { signal })) {
      if (marked.size === maxListedMarks) return undefined;
      marked.add(key);
    }
    return marked;
  }

  async #rescueBlob(digest: string, signal: AbortSignal | undefined): Promise<void> {
    const [store, clock] = [this.#store, this.#clock];
    const deadline = clock.now() + maxWaitMs;
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      const mark = await readMark(store, digest, signal);
      if (mark === undefined || mark.state === "rescued") return;
      const isLeft = mark.state === "condemned" || clock.now() - mark.time > staleMs;
      const move = { from: mark, to: "rescued" } as const;
      if (isLeft && (await moveMark({ store, clock }, digest, move, signal)) === "moved") return;
      if (clock.now() > deadline) throw beingDeleted(digest);
      signal?.throwIfAborted();
      if (!isLeft) await clock.sleep(waitMs);
    }
  }
}

function beingDeleted(digest: string): StowageError {
  const minutes = Math.ceil(staleMs / 60_000);
  return new StowageError(
    "STORE_UNAVAILABLE",
    `Cannot use blob "${digest}": a gc is deleting it and has not finished; if it has died, this is over after ${minutes} minutes`,
    { detail: { digest } },
  );
}
