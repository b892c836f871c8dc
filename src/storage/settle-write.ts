/**
 * Finds out what became of a write to a bucket that failed. Each write carries an id in the metadata of its object. So the
 * writer knows its object if the answer was lost, or if the answer was that of a second try.
 */
import type { StowageError } from "../errors.ts";
import type { ObjectInfo, PutCondition, PutResult, SendOptions } from "./object-store.ts";

/** Object metadata that names a write. */
export const writeIdName = "stowage-write";

/** An object, and the write that made it. */
export interface WrittenObject extends ObjectInfo {
  readonly writeId: string | undefined;
}

export interface FailedWrite extends SendOptions {
  readonly writeId: string;
  readonly condition: PutCondition | undefined;
  /** Was the last try answered with a lost race? An earlier try may have been done. */
  readonly isLost: boolean;
  /** What went wrong. */
  readonly failure: StowageError;
  /** Looks at the object. */
  readonly look: () => Promise<WrittenObject | undefined>;
}

/** Decides by the object that is there. Throws `failure` if that does not tell of a write without a condition. */
export async function settleWrite(write: FailedWrite): Promise<PutResult> {
  const { writeId, condition, isLost, failure, look, once = false, signal } = write;
  signal?.throwIfAborted();
  const found = await look().catch(() => "unknown" as const);
  signal?.throwIfAborted();
  if (found !== "unknown") {
    if (found?.writeId === writeId) return { etag: found.etag };
    // Another state does not tell of a request that is sent once: it may have been done before others wrote.
    const isOver = condition !== undefined && !once && !holds(condition, found);
    if (isLost || isOver) return "conflict";
  }
  if (condition === undefined) throw failure;
  return { unanswered: failure };
}

/** Does the condition hold in the state that was found? */
export function holds(condition: PutCondition, found: Pick<ObjectInfo, "etag"> | undefined): boolean {
  return found?.etag === (condition === "absent" ? undefined : condition.etag);
}
