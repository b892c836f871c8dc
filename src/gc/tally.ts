/** Counts the outcomes of a run of gc. */
import { StowageError } from "../errors.ts";

/** A number of blobs, or of objects that were to become blobs, and the sum of their lengths. */
export interface Amount {
  readonly blobs: number;
  readonly bytes: number;
}

/** The outcomes for all blobs that no image needs. */
export interface GarbageReport {
  /** Not needed: marked, to be deleted after the grace time. */
  readonly condemned: Amount;
  /** Condemned before and still not needed: deleted. */
  readonly freed: Amount;
  /** Condemned before; their grace time is not over. */
  readonly waiting: Amount;
  /** Condemned before, and needed now. */
  readonly kept: Amount;
  /** Referrers whose subject is gone: removed from their index. Later runs condemn their blobs. */
  readonly removed: Amount;
  /** Not needed, but not marked: the run has reached its limit, or a full disk has no room for the mark. */
  readonly postponed: Amount;
  /** The store did not answer: a run after some 40 minutes finishes them. */
  readonly undecided: Amount;
  /** Names that the rules, or their own end, have removed: tags, and images without a tag. */
  readonly dropped: number;
  /** Objects under `staging/` that nobody has finished in two days: deleted. */
  readonly abandoned: Amount;
  /** Manifests and indexes that could not be read. */
  readonly problems: readonly string[];
}

/** If more requests than this got no answer, the store itself fails. */
const maxUndecided = 100;

export class Tally {
  readonly #amounts = {
    condemned: { blobs: 0, bytes: 0 },
    freed: { blobs: 0, bytes: 0 },
    waiting: { blobs: 0, bytes: 0 },
    kept: { blobs: 0, bytes: 0 },
    removed: { blobs: 0, bytes: 0 },
    postponed: { blobs: 0, bytes: 0 },
    undecided: { blobs: 0, bytes: 0 },
    abandoned: { blobs: 0, bytes: 0 },
  };
  #dropped = 0;
  readonly #problems = new Set<string>();

  /** Throws `STORE_UNAVAILABLE` if the store has not answered more than `maxUndecided` requests. */
  count(what: keyof Omit<GarbageReport, "problems" | "dropped">, bytes: number): void {
    const amount = this.#amounts[what];
    amount.blobs += 1;
    amount.bytes += bytes;
    if (this.#amounts.undecided.blobs <= maxUndecided) return;
    const message = `Cannot go on: the store has not answered more than ${maxUndecided} requests`;
    throw new StowageError("STORE_UNAVAILABLE", message);
  }

  countDropped(names: number): void {
    this.#dropped += names;
  }

  tell(problem: string): void {
    this.#problems.add(problem);
  }

  report(): GarbageReport {
    return { ...this.#amounts, dropped: this.#dropped, problems: [...this.#problems] };
  }
}
