/** Notes about manifests, to be found again from the indexes above those manifests. */
import { limitExceeded } from "../errors.ts";
import { maxPlaces } from "../limits.ts";

export class NotedParts<Note> {
  readonly #what: string;
  /** By digest of a manifest. */
  readonly #notes = new Map<string, Note>();
  /** By digest of an index, the digests of its parts that have a note or lead to one. */
  readonly #parts = new Map<string, Set<string>>();
  #places = 0;

  /** `what` names the noted manifests in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  add(digest: string, note: Note): void {
    this.#notes.set(digest, note);
  }

  get(digest: string): Note | undefined {
    return this.#notes.get(digest);
  }

  /** Says that an index names this part. All notes below the part have been added before. Throws `LIMIT_EXCEEDED`. */
  addPart(index: string, part: string): void {
    const parts = this.#parts.get(index) ?? new Set();
    if (parts.has(part) || !(this.#notes.has(part) || this.leadsToNotes(part))) return;
    this.checkRoom(1);
    this.#places += 1;
    this.#parts.set(index, parts.add(part));
  }

  /** Throws `LIMIT_EXCEEDED` if there is no room for this number of parts. */
  checkRoom(parts: number): void {
    if (this.#places + parts <= maxPlaces) return;
    throw limitExceeded(`Cannot load the archive: its indexes name too many ${this.#what}`, { expected: maxPlaces });
  }

  leadsToNotes(index: string): boolean {
    return this.#parts.has(index);
  }

  /** The notes below these indexes, each once. A generator: a caller can stop after a few. */
  *below(indexes: Iterable<string>): Generator<Note> {
    const seen = new Set(indexes); // grows while it is gone through
    for (const index of seen) {
      for (const part of this.#parts.get(index) ?? []) {
        const note = seen.has(part) ? undefined : this.#notes.get(part);
        seen.add(part);
        if (note !== undefined) yield note;
      }
    }
  }
}
