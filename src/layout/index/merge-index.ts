/** Merges changes into a repository's index: a pure function, so that a commit can try it again on a newer state. */
import type { Digest } from "../../digest.ts";
import { maxEntriesBytes } from "../../limits.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type {
  Change,
  ChangeOutcome,
  ChangeSet,
  ChangeSetOutcome,
  Expectation,
  Refusal,
  RemoveTagChange,
  SetChange,
} from "../../oci/index-change.ts";
import {
  endOf,
  expiresAnnotation,
  refNameAnnotation,
  subjectAnnotation,
  subjectOf,
  tagOf,
} from "../../oci/index-entry.ts";
import { matchesPattern } from "../../oci/tag-pattern.ts";
import { type Stamp, forgetGone, lastChange, stampAnnotation, stampTextOf } from "./change-history.ts";
import { type RepositoryIndex, serializeRepositoryIndex } from "./repository-index.ts";

/** An index remembers the digests that were removed last: at most this many. */
export const maxRemoved = 1000;

interface MergedIndex {
  /** The given index itself, if nothing changed. */
  readonly index: RepositoryIndex;
  /** The outcome of each set, in order. */
  readonly outcomes: readonly ChangeSetOutcome[];
}

/**
 * Applies each set of changes as a whole, one after the other, or refuses it as a whole.
 *
 * If a tag moves, its old manifest loses the entry, as in every image layout. So an index does not grow with each move
 * of `latest`. A removed digest is remembered, because its bytes stay in the store for a while. Every changed name gets
 * a `Stamp` with the time `now`, in milliseconds since 1970.
 */
export function mergeIndex(index: RepositoryIndex, sets: readonly ChangeSet[], now: number): MergedIndex {
  const merge = new IndexMerger(index, now);
  const outcomes = sets.map((set): ChangeSetOutcome => {
    const refused = merge.findRefusal(set);
    return refused === undefined ? { changes: merge.apply(set) } : { refused };
  });
  return { index: merge.result(), outcomes };
}

class IndexMerger {
  readonly #before: RepositoryIndex;
  /** By tag, or by digest for an entry without a tag. A tag has no ":", so it cannot be confused with a digest. */
  readonly #entries: Map<string, Descriptor>;
  readonly #removed: Set<string>;
  /** The last changes of names that have no entry. */
  readonly #gone: Map<string, Stamp>;
  readonly #now: number;
  #began = 0;
  #isChanged = false;

  constructor(index: RepositoryIndex, now: number) {
    this.#before = index;
    this.#gone = new Map(index.history.gone);
    this.#now = now;
    this.#entries = new Map(index.entries.map((entry) => [tagOf(entry) ?? entry.digest, entry]));
    this.#removed = new Set(index.removed);
  }

  /** Returns undefined if every change of the set can be made. */
  findRefusal({ changes, immutableTags = [] }: ChangeSet): Refusal | undefined {
    for (const change of changes) {
      const refusal = this.#findUnexpected(change) ?? this.#findImmutable(change, immutableTags);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  apply({ changes, began = Number.POSITIVE_INFINITY }: ChangeSet): ChangeOutcome[] {
    this.#began = Math.min(began, this.#before.generation);
    return changes.map((change) => (change.op === "set" ? this.#set(change) : this.#remove(change)));
  }

  result(): RepositoryIndex {
    if (!this.#isChanged) return this.#before;
    return {
      ...this.#before,
      entries: [...this.#entries.values()],
      removed: [...this.#removed].slice(-maxRemoved),
      history: forgetGone({ ...this.#before.history, gone: this.#gone }, this.#now),
    };
  }

  #findUnexpected(change: Change): Refusal | undefined {
    if (!("expects" in change) || change.expects === undefined) return undefined;
    const reference = nameOf(change);
    const found = this.#entries.get(reference);
    if (isExpected(change.expects, found)) return undefined;
    return { reason: "unexpected", reference, found: found?.digest };
  }

  #findImmutable(change: Change, patterns: readonly string[]): Refusal | undefined {
    if (patterns.length === 0) return undefined;
    const reference = this.#losersOf(change).find((tag) => patterns.some((pattern) => matchesPattern(pattern, tag)));
    if (reference === undefined) return undefined;
    return { reason: "immutable", reference, found: this.#entries.get(reference)?.digest };
  }

  /** The tags that the change would move, remove, or give an earlier end. */
  #losersOf(change: Change): string[] {
    if (change.op === "remove" && "digest" in change) {
      return [...this.#entries.values()].flatMap((entry) =>
        entry.digest === change.digest ? (tagOf(entry) ?? []) : [],
      );
    }
    const { tag } = change;
    if (tag === undefined) return [];
    const found = this.#entries.get(tag);
    if (found === undefined) return [];
    const stays = change.op === "set" && change.digest === found.digest && !endsEarlier(change, found);
    return stays ? [] : [tag];
  }

  #set(change: SetChange): ChangeOutcome {
    const name = nameOf(change);
    const before = this.#entries.get(name);
    const wasRemoved = this.#removed.delete(change.digest);
    // the digest is not removed any more: that is a change of its name too
    if (wasRemoved) this.#markGone(change.digest);
    this.#isChanged ||= wasRemoved;
    if (before !== undefined && isSame(before, change)) return { status: "unchanged" };
    this.#entries.set(name, entryOf(change, this.#stampOf(name)));
    this.#gone.delete(name);
    this.#isChanged = true;
    if (before === undefined) return { status: "created" };
    return { status: "updated", ...(before.digest !== change.digest && { previous: before.digest }) };
  }

  #remove(change: Exclude<Change, SetChange>): ChangeOutcome {
    if ("digest" in change) return this.#removeDigest(change.digest);
    const previous = this.#entries.get(change.tag)?.digest;
    if (previous === undefined) return { status: "unchanged" };
    this.#markGone(change.tag);
    this.#entries.delete(change.tag);
    this.#isChanged = true;
    return { status: "removed", previous };
  }

  /**
   * Remembers the digest even if no entry has it. The manifest may be a part of an image that is gone. Without this, it
   * would be served by its digest as long as its bytes stay.
   */
  #removeDigest(digest: Digest): ChangeOutcome {
    const names = [...this.#entries].flatMap(([name, entry]) => (entry.digest === digest ? name : []));
    if (names.length === 0 && this.#removed.has(digest)) return { status: "unchanged" };
    for (const name of [...names, digest]) {
      this.#markGone(name);
      this.#entries.delete(name);
    }
    this.#removed.delete(digest);
    this.#removed.add(digest); // moved to the end: the latest
    this.#isChanged = true;
    return { status: "removed", previous: digest };
  }

  #markGone(name: string): void {
    const stamp = this.#stampOf(name);
    this.#gone.delete(name);
    this.#gone.set(name, stamp); // moved to the end: the latest
  }

  /** The new stamp of a name that the current set changes. */
  #stampOf(name: string): Stamp {
    const { forgotten } = this.#before.history;
    const before = lastChange({ entry: this.#entries.get(name), gone: this.#gone.get(name), forgotten });
    return { generation: Math.max(before, this.#began + 1), time: this.#now };
  }
}

/** The tag of a change, or the digest if the change has no tag. */
export function nameOf(change: SetChange | RemoveTagChange): string {
  return change.op === "set" ? (change.tag ?? change.digest) : change.tag;
}

function isExpected(expects: Expectation, found: Descriptor | undefined): boolean {
  if (expects === "absent" || found === undefined) return expects === "absent" && found === undefined;
  return found.digest === expects.digest && (expects.stamp ?? stampTextOf(found)) === stampTextOf(found);
}

function endsEarlier({ expires }: SetChange, before: Descriptor): boolean {
  return expires !== undefined && Date.parse(expires) < (endOf(before) ?? Number.POSITIVE_INFINITY);
}

/** An entry that another tool wrote does not name its subject. */
function isSame(entry: Descriptor, { digest, mediaType, subject, expires }: SetChange): boolean {
  const isSameImage = entry.digest === digest && entry.mediaType === mediaType && subjectOf(entry) === subject;
  return isSameImage && entry.annotations?.[expiresAnnotation] === expires;
}

function entryOf(
  { tag, mediaType, digest, size, artifactType, subject, expires }: SetChange,
  stamp: Stamp,
): Descriptor {
  const annotations = {
    ...(tag !== undefined && { [refNameAnnotation]: tag }),
    ...(subject !== undefined && { [subjectAnnotation]: subject }),
    ...(expires !== undefined && { [expiresAnnotation]: expires }),
    ...stampAnnotation(stamp),
  };
  return { mediaType, digest, size, ...(artifactType !== undefined && { artifactType }), annotations };
}

/** Like `mergeIndex`, but a set that would make the index too large fails as `full`. */
export function mergeWithinLimit(index: RepositoryIndex, sets: readonly ChangeSet[], now: number): MergedIndex {
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

/** A change that makes a full index smaller is always allowed. */
function isFull(before: RepositoryIndex, after: RepositoryIndex): boolean {
  const bytes = bytesOf(after);
  return bytes > maxEntriesBytes && bytes > bytesOf(before);
}

function bytesOf(index: RepositoryIndex): number {
  return serializeRepositoryIndex({ ...index, applied: new Map() }).length;
}
