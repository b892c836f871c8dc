/** A store that rescues condemned blobs. `marks.ts` explains marks, and why no load loses a blob. */
import type { Clock } from "../clock.ts";
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { ForwardingStore } from "../storage/forwarding-store.ts";
import type { CallOptions, ObjectStore } from "../storage/object-store.ts";
import { blobKey, digestOfBlobKey } from "./keys.ts";
import type { Layout } from "./layout.ts";
import { freshMs, listMarks, moveMark, readMark, staleMs } from "./marks.ts";

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
  /** The digests of all blobs that have a mark. Undefined if there are more than `maxListedMarks`. */
  readonly marked: Promise<ReadonlySet<Digest> | undefined>;
  /** By digest. */
  readonly rescues: Map<Digest, Promise<void>>;
}

/**
 * The store of one load, push, copy or new tag. It looks at the mark of a blob before it looks for the blob, and
 * rescues a condemned blob. So every blob that the load finds stays in the store long enough to be published.
 */
export class RescuingStore extends ForwardingStore {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  #listing: MarkListing | undefined;
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
    return (await this.#listOnce(signal).marked)?.size !== 0;
  }

  /** May the blob have a mark? Uses the same listing as `hasMarks`. */
  async isMarked(digest: Digest, { signal }: CallOptions = {}): Promise<boolean> {
    return (await this.#listOnce(signal).marked)?.has(digest) !== false;
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
    fork.#listing = this.#listing;
    return fork;
  }

  /** Can the load still rely on all blobs that it has found? */
  get isFresh(): boolean {
    return this.#listing === undefined || this.#clock.now() - this.#listing.time <= freshMs;
  }

  /** Forgets the listing of the marks. The caller then finds all blobs again. */
  renew(): void {
    this.#listing = undefined;
  }

  /**
   * Called before the load asks for the blob. In the other order, the load could find the blob, a gc could then delete
   * the blob and its mark, and the load would find no mark.
   */
  async #rescue(key: string, { signal }: CallOptions = {}): Promise<void> {
    const digest = digestOfBlobKey(key);
    if (digest === undefined) return;
    if (this.#asksEach) return this.#rescueBlob(digest, signal);
    const listing = this.#listOnce(signal);
    const marked = await listing.marked;
    if (marked?.has(digest) === false) return;
    const rescue = listing.rescues.get(digest) ?? this.#rescueBlob(digest, signal);
    listing.rescues.set(digest, rescue);
    await rescue;
  }

  #listOnce(signal: AbortSignal | undefined): MarkListing {
    this.#listing ??= { time: this.#clock.now(), marked: this.#listMarks(signal), rescues: new Map() };
    return this.#listing;
  }

  async #listMarks(signal: AbortSignal | undefined): Promise<ReadonlySet<Digest> | undefined> {
    const marked = await listMarks(this.#store, maxListedMarks + 1, signal);
    return marked.size > maxListedMarks ? undefined : marked;
  }

  async #rescueBlob(digest: Digest, signal: AbortSignal | undefined): Promise<void> {
    const [store, clock] = [this.#store, this.#clock];
    const deadline = clock.now() + maxWaitMs;
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      const mark = await readMark(store, digest, signal);
      if (mark === undefined || mark.state === "rescued") return;
      const mayBeRescued = mark.state === "condemned" || clock.now() - mark.time > staleMs;
      const move = { from: mark, to: "rescued" } as const;
      if (mayBeRescued && (await moveMark({ store, clock }, digest, move, signal)) === "moved") return;
      if (clock.now() > deadline) throw beingDeleted(digest);
      signal?.throwIfAborted();
      if (!mayBeRescued) await clock.sleep(waitMs);
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
