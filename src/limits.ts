/** How much a load may take, as far as settings decide it; other buffers have their caps beside them. */

export interface Limits {
  /** Bytes that all loads of the process hold together while they wait for the store. */
  readonly maxBufferBytes: number;
  /** Bytes of one manifest, or of an archive's `index.json`. */
  readonly maxManifestBytes: number;
  /** Entries of an archive, directories included. */
  readonly maxEntries: number;
  /** Levels of indexes inside indexes. */
  readonly maxIndexDepth: number;
}

export const defaultLimits: Limits = {
  maxBufferBytes: 64 * 1024 * 1024,
  maxManifestBytes: 4 * 1024 * 1024,
  maxEntries: 100_000,
  maxIndexDepth: 8,
};

/** Bytes of one repository's index: some 100,000 tags. */
export const maxIndexBytes = 32 * 1024 * 1024;
