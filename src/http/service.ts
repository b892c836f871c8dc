/** What all groups of routes are given. */
import type { Context } from "hono";
import { StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import type { TagPattern } from "../oci/tag-pattern.ts";
import { withinSeconds } from "../streams/in-time.ts";
import type { Line } from "../streams/line.ts";
import type { WatchedSource } from "../streams/watched-source.ts";
import type { Answers } from "./answers.ts";

/** What the routes need, with every choice made. */
export interface Service {
  readonly layout: Layout;
  /** Turns of loads, and turns of parts of uploads. */
  readonly loads: Line;
  readonly parts: Line;
  /** Sends what is large. */
  readonly answers: Answers;
  /** Bytes of a request's body that the platform lets through, where it cuts longer ones off. */
  readonly maxRequestBytes: number | undefined;
  /** Bytes of an answer that the platform lets through. */
  readonly maxResponseBytes: number | undefined;
  /** Is whoever pulls a blob sent to the bucket itself, where the store has addresses of its own? */
  readonly redirectBlobs: boolean;
  /** Tags that never move and are never removed. */
  readonly immutableTags: readonly TagPattern[];
  /** It ends with `TIMED_OUT` if the client is silent for too long, sooner while others wait for what `caller` holds. */
  readonly bodyOf: (c: Context, caller: string) => WatchedSource;
  readonly signal: AbortSignal | undefined;
  readonly log: (line: string) => void;
}

// The time that a load may take counts for whatever reads a request's body: who sends a byte now and then is never silent.

/** Does the work with a signal that fires with `TIMED_OUT` when the time is over. `what` names the work in the message. */
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
