/**
 * The clock and the random numbers of commits and gc. Callers can replace both, so a test runs thousands of schedules
 * in a short time.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** The system's clock, except in tests. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** If the signal fires first, it rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** A number from 0 up to, but not including, 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, { signal }).catch(() => undefined);
    signal?.throwIfAborted();
  },
  // Not `Math.random`: functions that start from one snapshot of memory would all make the same ids.
  random: () => (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32,
};
