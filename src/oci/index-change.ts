/**
 * What a commit asks of a repository's index, and what became of it. All of it is plain JSON: while writers race, it lies
 * in the store for others to merge.
 */

/** Points a tag, or a digest alone where there is no tag, at a manifest that is in the store with all that it names. */
export interface SetChange {
  readonly op: "set";
  readonly tag?: string | undefined;
  readonly mediaType: string;
  readonly digest: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
  /**
   * What kind of artifact the manifest is, as a list of referrers tells it (distribution specification, "Listing
   * Referrers").
   */
  readonly artifactType?: string | undefined;
  /** The digest of the manifest that this one says something about. */
  readonly subject?: string | undefined;
  readonly expects?: Expectation | undefined;
}

/** Takes out a tag; what it names stays under its other tags. */
export interface RemoveTagChange {
  readonly op: "remove";
  readonly tag: string;
  readonly expects?: Expectation | undefined;
}

/** Takes out a manifest, under all its tags; from then on it is not served by its digest either. */
export interface RemoveDigestChange {
  readonly op: "remove";
  readonly digest: string;
}

export type Change = SetChange | RemoveTagChange | RemoveDigestChange;

/** What the tag, or the digest alone, has to be before the change: not there, or at this digest. */
export type Expectation = "absent" | { readonly digest: string };

/** Changes that go in together, or not at all. */
export interface ChangeSet {
  readonly changes: readonly Change[];
  /** Tags that fit one of these patterns may be made; they never move and are never removed. */
  readonly immutableTags?: readonly string[] | undefined;
  /** The generation of the index when their writer began, at the latest. Without it they are merged as soon as they began. */
  readonly began?: number | undefined;
}

export interface ChangeOutcome {
  readonly status: "created" | "updated" | "unchanged" | "removed";
  /** The digest that was there before, where it is not the one that is there now. */
  readonly previous?: string | undefined;
}

/** Why changes did not go in: the first one that could not be made. */
export interface Refusal {
  readonly reason: "immutable" | "unexpected";
  /** The tag, or the digest where the change has none. */
  readonly reference: string;
  /** The digest that was found there, if there was one. */
  readonly found?: string | undefined;
}

/**
 * What became of a set of changes: an outcome for each, in their order, or why none of them was made. `full`: the index
 * would have become larger than it may. `expired`: nobody had merged them when their time was over; with `stale`, something
 * that they touch was changed after their writer had looked.
 */
export type ChangeSetOutcome =
  | { readonly changes: readonly ChangeOutcome[] }
  | { readonly refused: Refusal }
  | { readonly failed: "full" }
  | { readonly failed: "expired"; readonly stale?: true };
