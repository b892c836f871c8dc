/** Does what a run of gc decides about each blob: condemns the blob, deletes it, or deletes its mark. */
import type { Digest } from "../digest.ts";
import { type ErrorCode, StowageError } from "../errors.ts";
import { updateRepository } from "../layout/update-repository.ts";
import {
  type Mark,
  type MarkMove,
  deleteBlob,
  deleteMark,
  moveMark,
  promptMs,
  readMark,
  staleMs,
} from "../layout/marks.ts";
import type { Layout } from "../layout/layout.ts";
import type { Tally } from "./tally.ts";

export interface Candidate {
  readonly digest: Digest;
  /** Length in bytes, 0 if there is no such blob. */
  readonly size: number;
  /** Had the blob a mark when the marks were listed? */
  readonly isMarked: boolean;
  readonly isNeeded: boolean;
  /** If the blob is an orphan: the repositories whose indexes list it. */
  readonly orphanIn: readonly string[] | undefined;
}

/** One run of gc. */
export interface GcRun {
  /**
   * When the run began. The age of a mark is its age at this time, not now: the needed blobs were found after this
   * time.
   */
  readonly began: number;
  /** Undefined for a store that is not in use: blobs are deleted at once, without marks. */
  readonly graceMs: number | undefined;
  readonly isDryRun: boolean;
  readonly tally: Tally;
  readonly signal: AbortSignal | undefined;
}

/** An orphan's repositories, and when the move of its mark began. */
interface OrphanRemoval {
  readonly repositories: readonly string[];
  readonly began: number;
}

export class BlobSweep {
  readonly #layout: Layout;
  readonly #run: GcRun;

  constructor(layout: Layout, run: GcRun) {
    this.#layout = layout;
    this.#run = run;
  }

  async sweep(candidate: Candidate): Promise<void> {
    const { began, graceMs, tally, signal } = this.#run;
    signal?.throwIfAborted();
    const { digest, size, isMarked, isNeeded } = candidate;
    if (graceMs === undefined) return this.#deleteNow(candidate);
    const mark = isMarked ? await readMark(this.#layout.store, digest, signal) : undefined;
    if (mark === undefined) return isMarked ? undefined : this.#condemn(candidate, undefined);
    const age = began - mark.time;
    if (mark.state === "deleting" && age <= staleMs) return tally.count("waiting", size);
    if (isNeeded) return this.#unmark(candidate, mark);
    if (mark.state === "rescued") return this.#condemn(candidate, mark);
    if (mark.state === "condemned" && age < graceMs) return tally.count("waiting", size);
    return this.#delete(candidate, mark);
  }

  async #condemn({ digest, size }: Candidate, from: Mark | undefined): Promise<void> {
    if (await this.#move({ digest, size, from, to: "condemned" })) this.#run.tally.count("condemned", size);
  }

  /**
   * Deletes the mark of a needed blob. The mark becomes `rescued` first. Otherwise another run could move it to
   * `deleting` before this request deletes it. A load would then find no mark and trust the blob, and the other run
   * would delete the blob.
   */
  async #unmark({ digest, size }: Candidate, from: Mark): Promise<void> {
    const { tally } = this.#run;
    const began = this.#layout.clock.now();
    if (!(await this.#move({ digest, size, from, to: "rescued" }))) return;
    tally.count("kept", size);
    await this.#deleteMark(digest, began);
  }

  async #delete({ digest, size, orphanIn }: Candidate, from: Mark): Promise<void> {
    const { tally } = this.#run;
    const began = this.#layout.clock.now();
    if (!(await this.#move({ digest, size, from, to: "deleting" }))) return;
    const isDone =
      orphanIn === undefined
        ? this.#deleteBlob(digest, began)
        : this.#removeOrphan(digest, { repositories: orphanIn, began });
    if (!(await isDone)) return tally.count("undecided", size); // the mark stays `deleting`, and loads wait
    tally.count(orphanIn === undefined ? "freed" : "removed", size);
    await this.#deleteMark(digest, began);
  }

  async #deleteNow({ digest, size, isMarked, isNeeded, orphanIn }: Candidate): Promise<void> {
    const { tally } = this.#run;
    const began = this.#layout.clock.now();
    if (isNeeded) tally.count("kept", size);
    else if (orphanIn === undefined) tally.count((await this.#deleteBlob(digest, began)) ? "freed" : "undecided", size);
    else {
      const isDone = await this.#removeOrphan(digest, { repositories: orphanIn, began });
      tally.count(isDone ? "removed" : "undecided", size);
    }
    if (isMarked) await this.#deleteMark(digest, began);
  }

  /**
   * Returns true if the mark has surely moved. No signal ends the move or the deletion that follows: loads wait for
   * that deletion.
   */
  async #move({ digest, size, ...move }: MarkMove & Pick<Candidate, "digest" | "size">): Promise<boolean> {
    const { isDryRun, tally } = this.#run;
    if (isDryRun) return true;
    try {
      const answer = await moveMark(this.#layout, digest, move);
      if (answer === "unanswered") tally.count("undecided", size);
      return answer === "moved";
    } catch (error) {
      if (!(error instanceof StowageError) || error.code !== "STORE_FULL") throw error;
      tally.count("postponed", size); // the deletions of this run make room for the next run
      return false;
    }
  }

  /** Sends one request, and only within `promptMs`: later a load may have taken over the mark. */
  async #deleteBlob(digest: Digest, began: number): Promise<boolean> {
    const { store, clock } = this.#layout;
    if (this.#run.isDryRun) return true;
    if (clock.now() - began > promptMs) return false;
    return (await deleteBlob(store, digest)) === undefined;
  }

  /** If the mark stays, another run deletes it. */
  async #deleteMark(digest: Digest, began: number): Promise<void> {
    const { store, clock } = this.#layout;
    if (this.#run.isDryRun || clock.now() - began > promptMs) return;
    await deleteMark(store, digest);
  }

  /**
   * Removes an orphan from its indexes, within `promptMs`: later a load may have taken over the mark and published the
   * orphan again.
   */
  async #removeOrphan(digest: Digest, { repositories, began }: OrphanRemoval): Promise<boolean> {
    if (this.#run.isDryRun) return true;
    const { clock } = this.#layout;
    const changes = [{ op: "remove", digest }] as const;
    for (const repository of repositories) {
      if (clock.now() - began > promptMs) return false;
      if (!(await isDecided(async () => updateRepository(this.#layout, { repository, changes })))) return false;
    }
    return true;
  }
}

/** Runs a commit. Returns false if the changes were not made, or if it is not known whether they were made. */
async function isDecided(commit: () => Promise<unknown>): Promise<boolean> {
  try {
    await commit();
    return true;
  } catch (error) {
    if (error instanceof StowageError && undecidedCodes.has(error.code)) return false;
    throw error;
  }
}

const undecidedCodes: ReadonlySet<ErrorCode> = new Set(["COMMIT_CONFLICT", "STORE_UNAVAILABLE"]);
