/** How much a load may take, as far as settings decide it; other buffers have their caps beside them. */

/**
 * What a service or a load may take. A limit that is exceeded is the error `LIMIT_EXCEEDED`; one of time is `TIMED_OUT`, and
 * one load too many `TOOMANYREQUESTS`.
 */
export interface Limits {
  /** Bytes of bodies that the process holds at once: those of loads while they wait for the store, parts, and JSON. */
  readonly maxBufferBytes: number;
  /**
   * Bytes of one manifest, of an archive's `index.json` or `manifest.json`, or of a docker-archive's config. Of indexes inside
   * one another four times as many.
   */
  readonly maxManifestBytes: number;
  /** Entries of an archive, directories included. */
  readonly maxEntries: number;
  /** Levels of indexes inside indexes. */
  readonly maxIndexDepth: number;
  /** Bytes of a tarball as it comes, compressed or not. */
  readonly maxBodyBytes: number;
  /** Bytes of one file in an archive, such as a layer. */
  readonly maxBlobBytes: number;
  /** Loads at once, and as many parts of uploads. One more waits ten seconds for its turn. */
  readonly maxLoads: number;
  /** Seconds for which a client may send nothing while more of its body is awaited. */
  readonly maxIdleSeconds: number;
  /** Seconds for a whole load, or any other body: who sends a byte now and then is never silent, and holds its share. */
  readonly maxLoadSeconds: number;
  /** Bytes of an archive's extended headers and long names together; of one of them 1 MiB are allowed. */
  readonly maxPaxBytes: number;
  /** Bytes that come out of a compressed body for each byte of it, once 64 MiB have come out. */
  readonly maxExpansionRatio: number;
  /** Bytes that come out of a compressed body. */
  readonly maxExpandedBytes: number;
}

/** Those of a load by itself. The others are a service's: memory comes from a budget, and time ends by a signal. */
export type LoadLimits = Omit<Limits, "maxBufferBytes" | "maxLoads" | "maxIdleSeconds" | "maxLoadSeconds">;

/**
 * The limits where none are given. Bytes and time are meant to stop what will never end, not what is large: a layer may have
 * what S3 takes in 10,000 parts of which six fit into the memory, six hours are 27 GB at 10 Mbit/s, and an engine that
 * saves a large image says nothing for minutes.
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

/** The limits that are given, and the default of every other. An explicit `undefined` is not given either. */
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

/** Bytes of one repository's index, as it is read. */
export const maxIndexBytes = 32 * 1024 * 1024;

/** Bytes that its entries may take: some 100,000 tags. The rest is for what racing writers leave for each other. */
export const maxEntriesBytes = 24 * 1024 * 1024;

/** Images, names or layers that one archive may list: each is in the receipt, or a few bytes of the archive stand for it. */
export const maxNamed = 10_000;

/** Places in which the indexes of an archive may name manifests that are kept in mind: absent ones, and referrers. */
export const maxPlaces = 20_000;

/** Steps of one load that are made one after the other, and items of a list in its receipt. */
export const maxListed = 1000;
