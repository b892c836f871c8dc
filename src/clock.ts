/** Time and chance, as commits and gc see them: given from outside, so that a test runs thousands of schedules in no time. */
import { setTimeout as sleep } from "node:timers/promises";

/** The system's, but in tests. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  sleep(ms: number): Promise<void>;
  /** At least 0, less than 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms) => sleep(ms),
  // Not `Math.random`: functions that are started from one snapshot of memory would all have the same ids.
  random: () => (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32,
};
