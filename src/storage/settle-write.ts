/**
 * Finds out whether a failed write to a bucket was done. Each write puts an id into the metadata of its object. So the
 * writer can recognise its object if the answer was lost, or if a second try failed because the first was done.
 */
import type { StowageError } from "../errors.ts";
import type { ObjectInfo, PutCondition, PutResult, SendOptions } from "./object-store.ts";

/** Object metadata that names a write. */
export const writeIdName = "stowage-write";

/** An object, and the write that made it. */
export interface WrittenObject extends ObjectInfo {
  readonly writeId: string | undefined;
}

interface FailedWrite extends SendOptions {
  readonly writeId: string;
  readonly condition: PutCondition | undefined;
  /** Did the last try lose a race? An earlier try may have been done. */
  readonly isLost: boolean;
  /** The error of the write. */
  readonly failure: StowageError;
  /** Returns the object that is there now. */
  readonly look: () => Promise<WrittenObject | undefined>;
}

/** Decides by the object that is there now. Throws `failure` if a write without a condition cannot be decided. */
export async function settleWrite(write: FailedWrite): Promise<PutResult> {
  const { writeId, condition, isLost, failure, look, once = false, signal } = write;
  signal?.throwIfAborted();
  const found = await look().catch(() => "unknown" as const);
  signal?.throwIfAborted();
  if (found !== "unknown") {
    if (found?.writeId === writeId) return { etag: found.etag };
    // With `once`, another state decides nothing: the request may have been done before others wrote.
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
