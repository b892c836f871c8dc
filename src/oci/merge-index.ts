/** Merges changes into a repository's index: a pure function, so that a commit can try it again on a newer state. */
import type { Descriptor } from "./descriptor.ts";
import { type RepositoryIndex, refNameAnnotation, tagOf } from "./repository-index.ts";

/** Points a tag, or a digest alone where there is no tag, at a manifest. */
export interface SetChange {
  readonly tag: string | undefined;
  readonly mediaType: string;
  readonly digest: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
}

export interface ChangeOutcome {
  readonly status: "created" | "updated" | "unchanged";
  /** The digest that the tag had before, where it was another one. */
  readonly previous?: string;
}

export interface MergedIndex {
  readonly index: RepositoryIndex;
  /** What became of each change, in their order. All `unchanged`: the index is the one that was given. */
  readonly outcomes: readonly ChangeOutcome[];
}

/**
 * Applies all changes, the generation one higher; changes nothing if each is in the index already.
 *
 * A tag that moves lets go of the manifest that it had, as in every image layout: an index names what is current and
 * does not grow with each move of `latest`.
 */
export function mergeIndex(index: RepositoryIndex, changes: readonly SetChange[]): MergedIndex {
  const entries = new Map(index.entries.map((entry) => [entryName(tagOf(entry), entry.digest), entry]));
  const outcomes = changes.map((change): ChangeOutcome => {
    const name = entryName(change.tag, change.digest);
    const before = entries.get(name);
    if (before?.digest === change.digest && before.mediaType === change.mediaType) return { status: "unchanged" };
    entries.set(name, entryOf(change));
    if (before === undefined) return { status: "created" };
    return { status: "updated", ...(before.digest !== change.digest && { previous: before.digest }) };
  });
  if (outcomes.every(({ status }) => status === "unchanged")) return { index, outcomes };
  return { index: { ...index, generation: index.generation + 1, entries: [...entries.values()] }, outcomes };
}

/** What an entry is found by. A tag has no ":", so that it is never taken for a digest. */
function entryName(tag: string | undefined, digest: string): string {
  return tag ?? digest;
}

function entryOf({ tag, mediaType, digest, size }: SetChange): Descriptor {
  return { mediaType, digest, size, ...(tag !== undefined && { annotations: { [refNameAnnotation]: tag } }) };
}
