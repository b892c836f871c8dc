/**
 * Tells which changes come too late: something that they touch was changed by a writer who began after the changes were sent,
 * or may have. To merge them would undo something newer.
 */
import { lastChange } from "./change-history.ts";
import type { Change, ChangeSet, SetChange } from "../../oci/index-change.ts";
import { nameOf } from "./merge-index.ts";
import type { RepositoryIndex } from "./repository-index.ts";
import { tagOf } from "../../oci/index-entry.ts";

/** What a writer has seen of an index: all of its changes up to a generation. */
export interface Seen {
  readonly history: string;
  readonly generation: number;
}

export function seenOf({ history, generation }: RepositoryIndex): Seen {
  return { history: history.id, generation };
}

/** Was any name that the set touches changed by a writer who has seen as much as the set's own writer, or more? */
export type StaleTest = (set: ChangeSet, seen: Seen) => boolean;

/** Returns the test for an index into which these sets are to be merged. */
export function findStale(index: RepositoryIndex, sets: readonly ChangeSet[]): StaleTest {
  const { entries, history } = index;
  const byName = new Map(entries.map((entry) => [tagOf(entry) ?? entry.digest, entry]));

  const changedIn = (name: string): number =>
    lastChange({ entry: byName.get(name), gone: history.gone.get(name), forgotten: history.forgotten });

  /**
   * A digest that was removed must not come back under a tag. The removal of a digest must not take a tag that is newer, nor one
   * that only gets the digest in the same merge.
   */
  const touched = (change: Change): readonly string[] => {
    if (change.op === "set") return change.tag === undefined ? [change.digest] : [change.tag, change.digest];
    if ("tag" in change) return [change.tag];
    const names = [...byName].flatMap(([name, { digest }]) => (digest === change.digest ? [name] : []));
    const later = sets.flatMap(({ changes }) => changes).filter(isSet);
    return [change.digest, ...names, ...later.flatMap((it) => (it.digest === change.digest ? nameOf(it) : []))];
  };

  return ({ changes }, seen) =>
    seen.history !== history.id ||
    changes.some((change) => touched(change).some((name) => changedIn(name) > seen.generation));
}

function isSet(change: Change): change is SetChange {
  return change.op === "set";
}
