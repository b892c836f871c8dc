/**
 * A store as a load sees it: no blob is looked at before its mark is, and one that a gc has condemned is rescued first. So
 * whatever is found present stays, for long enough to publish it; `mark.ts` has the argument.
 */
import type { Clock } from "../clock.ts";
import { StowageError } from "../errors.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import { blobKey, condemnedPrefix, digestOfBlobKey, markKey } from "../storage/keys.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { freshMs, moveMark, readMark, staleMs } from "./mark.ts";

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

export interface RescuingStoreOptions {
  readonly clock: Clock;
}

/** The store of one load. */
export class RescuingStore extends ForwardingStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  #look: Look | undefined;
  #oldestTime: number | undefined;

  constructor(store: ObjectStore, { clock }: RescuingStoreOptions) {
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
      const mark = await readMark(digest, { store, signal });
      if (mark === undefined || mark.state === "rescued") return;
      const isLeft = mark.state === "condemned" || clock.now() - mark.time > staleMs;
      const move = { from: mark, to: "rescued" } as const;
      if (isLeft && (await moveMark(digest, move, { store, clock, signal })) === "moved") return;
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
