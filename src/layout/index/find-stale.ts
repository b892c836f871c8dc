/**
 * Tells which changes come too late. A change is too late if one of its names was changed by a writer that began, or
 * may have begun, after the change was sent. The merge would undo the newer change.
 */
import type { Change, ChangeSet, SetChange } from "../../oci/index-change.ts";
import { tagOf } from "../../oci/index-entry.ts";
import { lastChange } from "./change-history.ts";
import { nameOf } from "./merge-index.ts";
import type { Seen } from "./parse-change.ts";
import type { RepositoryIndex } from "./repository-index.ts";

export function seenOf({ history, generation }: RepositoryIndex): Seen {
  return { history: history.id, generation };
}

/**
 * Was a name of the set changed by a writer that began at the generation that the set's own writer has seen, or later?
 */
export type StaleTest = (set: ChangeSet, seen: Seen) => boolean;

/** Returns the test for a merge of these sets into this index. */
export function findStale(index: RepositoryIndex, sets: readonly ChangeSet[]): StaleTest {
  const { entries, history } = index;
  const byName = new Map(entries.map((entry) => [tagOf(entry) ?? entry.digest, entry]));

  const changedIn = (name: string): number =>
    lastChange({ entry: byName.get(name), gone: history.gone.get(name), forgotten: history.forgotten });

  /**
   * The names on which a change depends. A removed digest must not come back under a tag, so a new tag also depends on
   * its digest. The removal of a digest must not remove a newer tag, nor a tag that gets the digest only in the same
   * merge.
   */
  const touched = (change: Change): readonly string[] => {
    if (change.op === "set") return change.tag === undefined ? [change.digest] : [change.tag, change.digest];
    if ("tag" in change) return [change.tag];
    const names = [...byName].flatMap(([name, { digest }]) => (digest === change.digest ? [name] : []));
    const merged = sets.flatMap(({ changes }) => changes).filter(isSet);
    return [change.digest, ...names, ...merged.flatMap((it) => (it.digest === change.digest ? nameOf(it) : []))];
  };

  return ({ changes }, seen) =>
    seen.history !== history.id ||
    changes.some((change) => touched(change).some((name) => changedIn(name) > seen.generation));
}

function isSet(change: Change): change is SetChange {
  return change.op === "set";
}
