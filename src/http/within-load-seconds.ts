/**
 * The time that a load may take counts for whatever reads a request's body: who sends a byte now and then is never silent.
 */
import { StowageError } from "../errors.ts";
import { withinSeconds } from "../streams/within-seconds.ts";
import type { Service } from "./service.ts";

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
