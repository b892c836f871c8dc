/** Rules that say which images of a repository gc keeps, and which it drops. `docs/retention.md` has the form of the setting. */

/** The first rule of a list that fits an image decides about it. */
export interface RetentionRule {
  /** Patterns of repository names. */
  readonly repositories: readonly string[];
  /** Patterns of tags. `untagged`: images without a tag, and no others. */
  readonly fits: readonly string[] | "untagged";
  /** Undefined if all images that fit are kept. */
  readonly drops: DropCondition | undefined;
}

/** An image is dropped if everything that is here holds. At least one of the two is here. */
export interface DropCondition {
  /** Drops what is not among the latest images of its repository that the rule decides about: this many are kept. */
  readonly keepLatest?: number | undefined;
  /** Drops what was changed last longer ago than this. */
  readonly olderThanMs?: number | undefined;
}
