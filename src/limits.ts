/**
 * The limits that settings can change, and some fixed limits that several folders need. Other limits are defined beside
 * their code.
 */

/**
 * The limits of a service or a load. Above a limit, the error is `LIMIT_EXCEEDED`. For a limit of time it is
 * `TIMED_OUT`, and for one load too many `TOOMANYREQUESTS`.
 */
export interface Limits {
  /** Bytes of bodies that the process holds at once: bodies of loads that wait for the store, parts, and JSON. */
  readonly maxBufferBytes: number;
  /**
   * Bytes of one manifest, of an archive's `index.json` or `manifest.json`, or of a docker-archive's config. All
   * indexes inside one another may have four times as many together.
   */
  readonly maxManifestBytes: number;
  /** Entries of an archive, directories included. */
  readonly maxEntries: number;
  /** Levels of indexes inside indexes. */
  readonly maxIndexDepth: number;
  /** Bytes of a tarball as it is sent, compressed or not. */
  readonly maxBodyBytes: number;
  /** Bytes of one file in an archive, such as a layer. */
  readonly maxBlobBytes: number;
  /**
   * Loads at the same time. Parts of uploads have a separate limit of the same size. One load more waits ten seconds
   * for its turn.
   */
  readonly maxLoads: number;
  /** Seconds for which a client may be silent in the middle of its body. */
  readonly maxIdleSeconds: number;
  /**
   * Seconds for a whole load, or any other body. A client that sends one byte now and then is never silent, but holds
   * its share.
   */
  readonly maxLoadSeconds: number;
  /** Bytes of all extended headers and long names of an archive. One of them may have 1 MiB. */
  readonly maxPaxBytes: number;
  /** Bytes of output for each byte of a compressed body. Checked only after 64 MiB of output. */
  readonly maxExpansionRatio: number;
  /** Bytes of output of a compressed body. */
  readonly maxExpandedBytes: number;
}

/**
 * The limits of a load without a service. The other limits belong to a service: a budget limits memory, and a signal
 * limits time.
 */
export type LoadLimits = Omit<Limits, "maxBufferBytes" | "maxLoads" | "maxIdleSeconds" | "maxLoadSeconds">;

/**
 * The default limits. They should stop work that never ends, and not large work. A layer may have about as many bytes
 * as S3 takes in 10,000 parts of 5 MiB: a larger one needs larger parts, and more memory. Six hours are 27 GB at 10
 * Mbit/s. An engine that saves a large image can be silent for minutes.
 */
export const defaultLimits: Limits = {
  maxBufferBytes: 64 * 1024 * 1024,
  maxManifestBytes: 4 * 1024 * 1024,
  maxEntries: 100_000,
  maxIndexDepth: 8,
  maxBodyBytes: 1024 ** 4,
  maxBlobBytes: 50 * 1024 ** 3,
  maxLoads: 64,
  maxIdleSeconds: 300,
  maxLoadSeconds: 6 * 60 * 60,
  maxPaxBytes: 32 * 1024 * 1024,
  maxExpansionRatio: 100,
  maxExpandedBytes: 256 * 1024 * 1024 * 1024,
};

/** Adds the default of each limit that is missing or `undefined`. */
export function completeLimits(given: { readonly [limit in keyof Limits]?: number | undefined } = {}): Limits {
  return {
    maxBufferBytes: given.maxBufferBytes ?? defaultLimits.maxBufferBytes,
    maxManifestBytes: given.maxManifestBytes ?? defaultLimits.maxManifestBytes,
    maxEntries: given.maxEntries ?? defaultLimits.maxEntries,
    maxIndexDepth: given.maxIndexDepth ?? defaultLimits.maxIndexDepth,
    maxBodyBytes: given.maxBodyBytes ?? defaultLimits.maxBodyBytes,
    maxBlobBytes: given.maxBlobBytes ?? defaultLimits.maxBlobBytes,
    maxLoads: given.maxLoads ?? defaultLimits.maxLoads,
    maxIdleSeconds: given.maxIdleSeconds ?? defaultLimits.maxIdleSeconds,
    maxLoadSeconds: given.maxLoadSeconds ?? defaultLimits.maxLoadSeconds,
    maxPaxBytes: given.maxPaxBytes ?? defaultLimits.maxPaxBytes,
    maxExpansionRatio: given.maxExpansionRatio ?? defaultLimits.maxExpansionRatio,
    maxExpandedBytes: given.maxExpandedBytes ?? defaultLimits.maxExpandedBytes,
  };
}

/** Bytes of one repository's index when it is read. */
export const maxIndexBytes = 32 * 1024 * 1024;

/**
 * Bytes of the entries of an index: about 100,000 tags. The rest of `maxIndexBytes` is for the notes of racing writers
 * to each other.
 */
export const maxEntriesBytes = 24 * 1024 * 1024;

/**
 * Images, names or layers that one archive may list. Each is in the receipt, or takes only a few bytes of the archive.
 */
export const maxNamed = 10_000;

/** Places in the indexes of an archive that name absent manifests or referrers. The load remembers these places. */
export const maxPlaces = 20_000;

/** Steps of one load that run one after the other, and items of a list in its receipt. */
export const maxListed = 1000;
