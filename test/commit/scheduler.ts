/**
 * Virtual time for a simulation: everything that is going to happen lies in one list and happens in the order of its time,
 * one thing after the other, so that the same start always leads to the same end.
 */
import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import type { Clock } from "../../src/clock.ts";

interface ScheduledEvent {
  readonly at: number;
  readonly happen: () => void;
}

/** More than any schedule has that comes to an end. */
const maxEvents = 1_000_000;

export class Scheduler {
  /** Milliseconds since 1970, as a clock shows them that is right. */
  now = 1_700_000_000_000;
  readonly #start = this.now;
  /** The earliest is the last. */
  readonly #events: ScheduledEvent[] = [];
  readonly #trace: string[] = [];

  /** Lets something happen after so many milliseconds; of two at the same time the one that was asked for first. */
  after(ms: number, happen: () => void): void {
    const at = this.now + ms;
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle]?.at ?? 0) > at) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, { at, happen });
  }

  /** Goes on until nothing is going to happen any more. */
  async run(): Promise<void> {
    for (let count = 0; ; count++) {
      await turnOfTheLoop(); // whoever was answered goes on, up to what it waits for next
      const event = this.#events.pop();
      if (event === undefined) return;
      if (count === maxEvents) throw new Error(`found ${maxEvents} events, expected an end before`);
      this.now = event.at;
      event.happen();
    }
  }

  /** Milliseconds since the start. */
  get elapsedMs(): number {
    return this.now - this.#start;
  }

  note(line: string): void {
    this.#trace.push(`${this.elapsedMs.toFixed(0).padStart(8)} ms  ${line}`);
  }

  /** What was noted, a line for each. */
  get trace(): string {
    return this.#trace.join("\n");
  }
}

export interface SimulatedClockOptions {
  readonly scheduler: Scheduler;
  /** By how much the clock is wrong. */
  readonly skewMs: number;
  /** Chance that is the same each time for the same seed. */
  readonly random: () => number;
}

/** The clock of one writer. */
export function simulatedClock({ scheduler, skewMs, random }: SimulatedClockOptions): Clock {
  return {
    now: () => Math.floor(scheduler.now + skewMs),
    sleep: async (ms) => new Promise((resolve) => scheduler.after(ms, resolve)),
    random,
  };
}

/** Numbers from 0 to 1 that look like chance (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
