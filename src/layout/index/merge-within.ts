/** Merges changes into an index, as far as they fit into it. */
import { maxEntriesBytes } from "../../limits.ts";
import type { ChangeSet, ChangeSetOutcome } from "../../oci/index-change.ts";
import { type MergedIndex, mergeIndex } from "./merge-index.ts";
import { type RepositoryIndex, serializeRepositoryIndex } from "./repository-index.ts";

/** As `mergeIndex`, but that sets by which the index would become too large have failed as `full`. */
export function mergeWithin(index: RepositoryIndex, sets: readonly ChangeSet[], now: number): MergedIndex {
  const merged = mergeIndex(index, sets, now);
  return isFull(index, merged.index) ? mergeOneByOne(index, sets, now) : merged;
}

function mergeOneByOne(index: RepositoryIndex, sets: readonly ChangeSet[], now: number): MergedIndex {
  let current = index;
  const outcomes = sets.flatMap((set): readonly ChangeSetOutcome[] => {
    const merged = mergeIndex(current, [set], now);
    if (isFull(current, merged.index)) return [{ failed: "full" }];
    current = merged.index;
    return merged.outcomes;
  });
  return { index: current, outcomes };
}

/** What makes a full index smaller is always welcome. */
function isFull(before: RepositoryIndex, after: RepositoryIndex): boolean {
  const bytes = bytesOf(after);
  return bytes > maxEntriesBytes && bytes > bytesOf(before);
}

function bytesOf(index: RepositoryIndex): number {
  return serializeRepositoryIndex({ ...index, applied: new Map() }).length;
}
