/**
 * A store, opened for work. A `Layout` holds what all work on one store shares: the result of the probe, the commits
 * and the reads that are under way, the memory, the limits and the clock.
 */
import { type Clock, systemClock } from "../clock.ts";
import type { Hasher } from "../digest.ts";
import { type Limits, completeLimits } from "../limits.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { ByteBudget } from "../streams/byte-budget.ts";
import { SharedWork } from "../streams/batches.ts";
import { CommitQueue } from "./index/commit-queue.ts";
import type { RepositoryIndex } from "./index/repository-index.ts";
import { GuardedStore } from "./guarded-store.ts";

/**
 * A request waits at most this long for a read of another request. A read takes less time, also from a store that does
 * not answer (`storage/s3/s3-client.ts`).
 */
const maxReadMs = 45_000;

/** How a store is opened. All options may be left out. */
export interface LayoutOptions {
  /** A missing limit is taken from `defaultLimits`. */
  readonly limits?: Partial<Limits> | undefined;
  /** Called after each commit, with the number of times that the commit has tried to write the index. */
  readonly onCommit?: ((tries: number) => void) | undefined;
  /** Hashes blobs of 256 KiB and more, such as in another thread. By default the calling thread does. */
  readonly hasher?: Hasher | undefined;
  /** For tests. */
  readonly clock?: Clock | undefined;
}

/** A manifest, and its bytes. */
export interface StoredManifest {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
}

/** One store, opened for work. */
export class Layout<Store extends ObjectStore = ObjectStore> {
  /** Nothing is written to the store before it has passed the probe (`guarded-store.ts`). */
  readonly store: Store;
  readonly limits: Limits;
  readonly clock: Clock;
  /** The memory that all work on the store shares. */
  readonly budget: ByteBudget;
  readonly hasher: Hasher | undefined;
  /** The commits of this process. Those to one repository are made one after the other. */
  readonly commits: CommitQueue;
  /**
   * Reads of repositories' indexes. Requests share them, because a large index takes some 100 MiB while it is parsed.
   */
  readonly indexReads: SharedWork<RepositoryIndex>;
  /** Reads of manifests. Requests share them, because a large one takes some 20 MiB, and 20 ms, while it is checked. */
  readonly manifestReads: SharedWork<StoredManifest | undefined>;

  private constructor(store: Store, shared: Omit<Layout, "store" | "beside" | "through">) {
    this.store = store;
    this.limits = shared.limits;
    this.clock = shared.clock;
    this.budget = shared.budget;
    this.hasher = shared.hasher;
    this.commits = shared.commits;
    this.indexReads = shared.indexReads;
    this.manifestReads = shared.manifestReads;
  }

  /**
   * Opens a store. Nothing is read or written yet. A process opens each store once, so all its work shares one layout.
   */
  static open(
    store: ObjectStore,
    { limits: given, clock = systemClock, hasher, onCommit }: LayoutOptions = {},
  ): Layout {
    const limits = completeLimits(given);
    return new Layout(new GuardedStore(store), {
      limits,
      clock,
      budget: new ByteBudget(limits.maxBufferBytes),
      hasher,
      commits: new CommitQueue(onCommit),
      indexReads: new SharedWork(maxReadMs),
      manifestReads: new SharedWork(maxReadMs),
    });
  }

  /** Opens another store for the same process: both share memory, limits and clock. */
  beside(store: ObjectStore): Layout {
    const { limits, clock, budget, hasher } = this;
    const own = { commits: this.commits.another(), indexReads: new SharedWork<RepositoryIndex>(maxReadMs) };
    return new Layout(new GuardedStore(store), {
      limits,
      clock,
      budget,
      hasher,
      ...own,
      manifestReads: new SharedWork(maxReadMs),
    });
  }

  /**
   * Returns the same layout for one piece of work. All requests of this work go through the given decorator of the
   * store.
   */
  through<Decorator extends ObjectStore>(store: Decorator): Layout<Decorator> {
    return new Layout(store, this);
  }
}
