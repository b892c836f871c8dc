/** Keeps notes about manifests. The notes can be found from the indexes above the manifests. */
import type { Digest } from "../digest.ts";
import { limitExceeded } from "../errors.ts";
import { maxPlaces } from "../limits.ts";

export class NotedParts<Note> {
  readonly #what: string;
  /** By the digest of a manifest. */
  readonly #notes = new Map<Digest, Note>();
  /** By the digest of an index: the digests of its parts that have a note or lead to a note. */
  readonly #parts = new Map<Digest, Set<Digest>>();
  #places = 0;

  /** `what` names the noted manifests in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  add(digest: Digest, note: Note): void {
    this.#notes.set(digest, note);
  }

  get(digest: Digest): Note | undefined {
    return this.#notes.get(digest);
  }

  /**
   * Records that an index names this part. The caller has already added all notes below the part. Throws
   * `LIMIT_EXCEEDED`.
   */
  addPart(index: Digest, part: Digest): void {
    const parts = this.#parts.get(index) ?? new Set();
    if (parts.has(part) || !(this.#notes.has(part) || this.leadsToNotes(part))) return;
    this.checkPlaces(1);
    this.#places += 1;
    this.#parts.set(index, parts.add(part));
  }

  /** Throws `LIMIT_EXCEEDED` if this number of parts would be too many. */
  checkPlaces(parts: number): void {
    if (this.#places + parts <= maxPlaces) return;
    throw limitExceeded(`Cannot check the images: their indexes name too many ${this.#what}`, { expected: maxPlaces });
  }

  leadsToNotes(index: Digest): boolean {
    return this.#parts.has(index);
  }

  /**
   * Yields the notes below these indexes, each once. The first notes come fast: only parts that lead to a note are
   * walked.
   */
  *below(indexes: readonly Digest[]): Generator<Note> {
    const seen = new Set(indexes);
    for (const index of indexes) yield* this.#unseenBelow(index, seen);
  }

  *#unseenBelow(index: Digest, seen: Set<Digest>): Generator<Note> {
    for (const part of this.#parts.get(index) ?? []) {
      if (seen.has(part)) continue;
      seen.add(part);
      const note = this.#notes.get(part);
      if (note !== undefined) yield note;
      yield* this.#unseenBelow(part, seen);
    }
  }
}
