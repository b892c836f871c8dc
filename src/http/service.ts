/** What every group of routes is given. */
import type { Context } from "hono";
import { StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { withinSeconds } from "../streams/in-time.ts";
import type { Line } from "../streams/line.ts";
import type { WatchedSource } from "../streams/watched-source.ts";
import type { Answers } from "./answers.ts";
import type { Log } from "./log.ts";

/** What the routes share, with every choice made. */
export interface Service {
  readonly layout: Layout;
  /** One unit is one load. */
  readonly loads: Line;
  /** One unit is one part of an upload. */
  readonly parts: Line;
  readonly answers: Answers;
  /** Bytes of a request's body that the platform lets through. Undefined without a limit. */
  readonly maxRequestBytes: number | undefined;
  /** Bytes of an answer that the platform lets through. Undefined without a limit. */
  readonly maxResponseBytes: number | undefined;
  /** Are pulls of blobs redirected to the bucket, if the store has presigned URLs? */
  readonly redirectBlobs: boolean;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  /** The body ends with `TIMED_OUT` if the client is silent for too long, sooner while others wait for what `caller` holds. */
  readonly bodyOf: (c: Context, caller: string) => WatchedSource;
  readonly signal: AbortSignal | undefined;
  readonly log: Log;
}

/**
 * Does work that reads a request's body, within the time of a load. The work's signal fires with `TIMED_OUT` when the time is
 * over. A client that sends a byte now and then is never silent, so silence alone would not end it. `what` names the work.
 */
export async function withinLoadSeconds<T>(
  what: string,
  { layout, signal }: Pick<Service, "layout" | "signal">,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { maxLoadSeconds } = layout.limits;
  return withinSeconds({ seconds: maxLoadSeconds, late: () => tooLate(what, maxLoadSeconds), signal }, work);
}

function tooLate(what: string, maxLoadSeconds: number): StowageError {
  return new StowageError(
    "TIMED_OUT",
    `Cannot finish ${what}: it was not done after ${maxLoadSeconds} seconds, which is the longest allowed (maxLoadSeconds)`,
    { detail: { limit: "maxLoadSeconds", expected: maxLoadSeconds } },
  );
}
