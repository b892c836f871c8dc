/**
 * Marks: a gc marks a blob before it deletes the blob, so that a load that needs the blob can rescue it. A mark is one small
 * object, `condemned/<hex>`, and moves by compare and swap alone:
 *
 *     absent ---gc--> condemned ---gc, once its grace is over--> deleting --gc--> blob, then mark deleted
 *                      |     ^                                      |
 *                     load   gc, if still no image needs it    load, if its gc is surely dead
 *                      v     |                                      |
 *                      rescued <------------------------------------+
 *
 * Why no load loses a blob:
 *
 * - A load lists the marks before it looks for a blob. It rescues a condemned blob first. A rescue and the step to `deleting`
 *   start from the same state, so one of them fails.
 * - If a blob has no mark now, no gc deletes it within the shortest grace time. A load does not rely on a blob that it found
 *   more than 10 minutes ago (`RescuingStore`).
 * - A gc deletes a blob only if the blob's mark was old enough when the run began. The gc looks for needed blobs after that. A
 *   load that publishes the blob meanwhile has found the mark and moved it. The moved mark is too young for this run.
 *
 * "Load" stands here for all work that publishes: a load, a push, a copy, a new tag.
 *
 * Two assumptions: a request without an answer takes effect within 15 minutes or never (S3 refuses a signature of that age),
 * and clocks differ by at most 15 minutes.
 */
import type { Clock } from "../clock.ts";
import type { Digest } from "../digest.ts";
import { messageOf, StowageError } from "../errors.ts";
import { describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import type { CallOptions, ObjectStore, Unanswered } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import { blobKey, condemnedPrefix, digestOfBlobKey, digestOfMarkKey, markKey } from "./keys.ts";
import type { Layout } from "./layout.ts";

const minuteMs = 60_000;
/** A request without an answer has taken effect after this time, or never will. */
const lateMs = 15 * minuteMs;
/** The largest difference between clocks. */
export const skewMs = 15 * minuteMs;
/** The time for which a load may rely on the blobs that it found. */
const freshMs = 10 * minuteMs;
/** The longest time of a commit. A commit sends no write after this time (`index/commit-changes.ts`). */
const commitMs = 5 * minuteMs;

/**
 * The shortest time between a mark and the deletion of its blob. A load that saw no mark has committed by then, even if both
 * the mark and the commit took effect late, and the clocks differ.
 */
export const minGraceMs = freshMs + commitMs + lateMs + lateMs + skewMs;
/** A gc that has moved a mark to `deleting` deletes the blob within this time, or does not delete it. */
export const promptMs = commitMs;
/** A mark that has been `deleting` for this time has lost its gc. All requests and commits of that gc have taken effect. */
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

/** Marks that one run of gc looks at, old and new together. The others wait for the next run. */
export const maxMarks = 100_000;

/** The digests of the blobs that have a mark. */
export async function listMarks(store: ObjectStore, signal: AbortSignal | undefined): Promise<ReadonlySet<Digest>> {
  const marked = new Set<Digest>();
  for await (const { key } of store.list(condemnedPrefix, { signal })) {
    const digest = digestOfMarkKey(key);
    if (digest !== undefined) marked.add(digest);
    if (marked.size === maxMarks) break;
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
 * Moves a mark to its next state, if the mark is still the one that was read. The request is sent once. A second try could meet
 * the result of the first, and its answer would be `lost` although the mark moved.
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

/** The most marks that a load lists. If the store has more, the load asks for the mark of each blob. */
const maxListedMarks = 1000;
/** A load waits at most this long for a blob that a gc is deleting. The gc needs two requests for the deletion. */
const maxWaitMs = 30_000;
const firstWaitMs = 20;
const longestWaitMs = 1000;

/** The one listing of marks that a load makes, and its rescues. */
interface MarkListing {
  /** When the listing began. */
  readonly time: number;
  /** The keys of all marks. Undefined if there are more than `maxListedMarks`. */
  readonly marked: Promise<ReadonlySet<string> | undefined>;
  /** By digest. */
  readonly rescues: Map<string, Promise<void>>;
}

/**
 * The store of one load, push, copy or new tag. It looks at the mark of a blob before it looks for the blob, and rescues a
 * condemned blob. So every blob that the load finds stays in the store long enough to be published.
 */
export class RescuingStore extends ForwardingStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  #look: MarkListing | undefined;
  /** Asks for the mark of each blob, without a listing. */
  #asksEach = false;

  constructor(store: ObjectStore, clock: Clock) {
    super(store);
    this.#store = store;
    this.#clock = clock;
  }

  /**
   * For a request about one blob: asks for the mark of that blob, and lists no marks. Nothing is published through this
   * store: it does not know when it has found a blob.
   */
  static forOneBlob({ store, clock }: Pick<Layout, "store" | "clock">): RescuingStore {
    const rescuing = new RescuingStore(store, clock);
    rescuing.#asksEach = true;
    return rescuing;
  }

  override async head(...args: Parameters<ObjectStore["head"]>): ReturnType<ObjectStore["head"]> {
    await this.#rescue(args[0], args[1]);
    return super.head(...args);
  }

  override async get(...args: Parameters<ObjectStore["get"]>): ReturnType<ObjectStore["get"]> {
    await this.#rescue(args[0], args[1]);
    return super.get(...args);
  }

  /** Did the store have marks when the load listed them? */
  async hasMarks({ signal }: CallOptions = {}): Promise<boolean> {
    return (await this.#lookOnce(signal).marked)?.size !== 0;
  }

  /** May the blob have a mark? Uses the same listing as `hasMarks`. */
  async isMarked(digest: Digest, { signal }: CallOptions = {}): Promise<boolean> {
    return (await this.#lookOnce(signal).marked)?.has(markKey(digest)) !== false;
  }

  /** Rescues a needed blob if it is condemned. Does not look whether the blob is in the store. */
  async rescue(digest: Digest, options?: CallOptions): Promise<void> {
    await this.#rescue(blobKey(digest), options);
  }

  /**
   * Makes a store for another part of the same work. It starts with this store's listing of the marks. A later `renew`
   * of one store does not change the other.
   */
  fork(): RescuingStore {
    const fork = new RescuingStore(this.#store, this.#clock);
    fork.#look = this.#look;
    return fork;
  }

  /** Can the load still rely on all blobs that it has found? */
  get isFresh(): boolean {
    return this.#look === undefined || this.#clock.now() - this.#look.time <= freshMs;
  }

  /** Forgets the listing of the marks. The caller then finds all blobs again. */
  renew(): void {
    this.#look = undefined;
  }

  /**
   * Called before the load asks for the blob. In the other order, the load could find the blob, a gc could then delete the blob
   * and its mark, and the load would find no mark.
   */
  async #rescue(key: string, { signal }: CallOptions = {}): Promise<void> {
    const digest = digestOfBlobKey(key);
    if (digest === undefined) return;
    if (this.#asksEach) return this.#rescueBlob(digest, signal);
    const look = this.#lookOnce(signal);
    const marked = await look.marked;
    if (marked?.has(markKey(digest)) === false) return;
    const rescue = look.rescues.get(digest) ?? this.#rescueBlob(digest, signal);
    look.rescues.set(digest, rescue);
    await rescue;
  }

  #lookOnce(signal: AbortSignal | undefined): MarkListing {
    this.#look ??= { time: this.#clock.now(), marked: this.#listMarks(signal), rescues: new Map() };
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

  async #rescueBlob(digest: Digest, signal: AbortSignal | undefined): Promise<void> {
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

function beingDeleted(digest: Digest): StowageError {
  const minutes = Math.ceil(staleMs / 60_000);
  return new StowageError(
    "STORE_UNAVAILABLE",
    `Cannot use blob "${digest}": a gc is deleting it and has not finished; if the gc was killed, try again after ${minutes} minutes`,
    { detail: { digest } },
  );
}
