/** How much a load may take, as far as settings decide it; other buffers have their caps beside them. */

/** What a service or a load may take. A limit that is exceeded is the error `LIMIT_EXCEEDED`. */
export interface Limits {
  /** Bytes that all loads of the process hold together while they wait for the store. */
  readonly maxBufferBytes: number;
  /** Bytes of one manifest, or of an archive's `index.json`. */
  readonly maxManifestBytes: number;
  /** Entries of an archive, directories included. */
  readonly maxEntries: number;
  /** Levels of indexes inside indexes. */
  readonly maxIndexDepth: number;
  /** Bytes of an archive's extended headers and long names together; of one of them 1 MiB are allowed. */
  readonly maxPaxBytes: number;
  /** Bytes that come out of a compressed body for each byte of it, once 64 MiB have come out. */
  readonly maxExpansionRatio: number;
  /** Bytes that come out of a compressed body. */
  readonly maxExpandedBytes: number;
}

/** The limits where none are given: 64 MiB held, 4 MiB a manifest, 100,000 entries, 8 levels. */
export const defaultLimits: Limits = {
  maxBufferBytes: 64 * 1024 * 1024,
  maxManifestBytes: 4 * 1024 * 1024,
  maxEntries: 100_000,
  maxIndexDepth: 8,
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
    maxPaxBytes: given.maxPaxBytes ?? defaultLimits.maxPaxBytes,
    maxExpansionRatio: given.maxExpansionRatio ?? defaultLimits.maxExpansionRatio,
    maxExpandedBytes: given.maxExpandedBytes ?? defaultLimits.maxExpandedBytes,
  };
}

/** Bytes of one repository's index: some 100,000 tags. */
export const maxIndexBytes = 32 * 1024 * 1024;
