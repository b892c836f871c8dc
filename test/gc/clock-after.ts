/** A clock that is ahead, so that no test has to wait for a grace time. */
import { type Clock, systemClock } from "../../src/clock.ts";

export const hour = 60 * 60 * 1000;

export function clockAfter(ms: number): Clock {
  return { ...systemClock, now: () => systemClock.now() + ms };
}
