/**
 * Changes of a repository's index, and their outcomes. Both are plain JSON: while writers race, the changes of each lie
 * in the store, and another writer merges them.
 */
import type { Digest } from "../digest.ts";

/**
 * Points a tag at a manifest, or lists the manifest by its digest if there is no tag. The manifest and everything that
 * it names are in the store.
 */
export interface SetChange {
  readonly op: "set";
  readonly tag?: string | undefined;
  readonly mediaType: string;
  readonly digest: Digest;
  /** Length of the manifest in bytes. */
  readonly size: number;
  /** The kind of artifact, as a list of referrers tells it (distribution specification, "Listing Referrers"). */
  readonly artifactType?: string | undefined;
  /** The digest of the manifest that this one refers to. */
  readonly subject?: Digest | undefined;
  /**
   * The end of the image, as `expiresAnnotation` holds it. Without it the image has no end, even if it had one before.
   */
  readonly expires?: string | undefined;
  readonly expects?: Expectation | undefined;
}

/** Removes one entry. The manifest stays under its other tags. */
export interface RemoveTagChange {
  readonly op: "remove";
  /** A tag, or the digest of an entry without a tag. */
  readonly tag: string;
  readonly expects?: Expectation | undefined;
}

/** Removes a manifest and all its tags. Afterwards the manifest is not served by its digest either. */
export interface RemoveDigestChange {
  readonly op: "remove";
  readonly digest: Digest;
}

export type Change = SetChange | RemoveTagChange | RemoveDigestChange;

/** What the tag or digest must be before the change: absent, or at a digest. */
export type Expectation = "absent" | ExpectedEntry;

export interface ExpectedEntry {
  readonly digest: Digest;
  /** The entry's `stampTextOf`: nobody has changed the entry since it was read. */
  readonly stamp?: string | undefined;
}

/** Changes that are made together, or not at all. */
export interface ChangeSet {
  readonly changes: readonly Change[];
  /** Tags that fit one of these patterns can be created, but never moved or removed. */
  readonly immutableTags?: readonly string[] | undefined;
  /**
   * The writer of the changes began at this generation of the index, or before. Without it, the writer began at the
   * generation into which the changes are merged.
   */
  readonly began?: number | undefined;
}

export interface ChangeOutcome {
  readonly status: "created" | "updated" | "unchanged" | "removed";
  /** The digest before the change, if it was another one. */
  readonly previous?: Digest | undefined;
}

/** Why a set of changes was refused: the first change that could not be made. */
export interface Refusal {
  readonly reason: "immutable" | "unexpected";
  /** The tag, or the digest if the change has no tag. */
  readonly reference: string;
  /** The digest that the reference had, if it had one. */
  readonly found?: string | undefined;
}

/**
 * The outcome of a set of changes: an outcome for each change, in order, or the reason why none was made. `full`: the
 * index would be too large. `expired`: no writer merged the changes in time. `stale`: one of their names was changed
 * after their writer had read the index.
 */
export type ChangeSetOutcome =
  | { readonly changes: readonly ChangeOutcome[] }
  | { readonly refused: Refusal }
  | { readonly failed: "full" }
  | { readonly failed: "expired"; readonly stale?: true };
