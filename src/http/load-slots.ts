/** How many loads run at once. One more is refused before its body is read, rather than kept waiting for its turn. */
import { StowageError } from "../errors.ts";

/** How long a load that is told that its time is over may take to clean up. */
const cleanUpMs = 60_000;

export interface LoadSlotsOptions {
  readonly maxLoads: number;
  /** By when each is over. */
  readonly maxLoadSeconds: number;
}

export class LoadSlots {
  readonly #options: LoadSlotsOptions;
  /** Until when each load runs at the longest: on Workers one can be ended without a word. */
  readonly #taken = new Set<{ readonly untilMs: number }>();

  constructor(options: LoadSlotsOptions) {
    this.#options = options;
  }

  /** Runs a load. Throws `TOOMANYREQUESTS` if as many as are allowed run already. */
  async run<T>(load: () => Promise<T>): Promise<T> {
    const { maxLoads, maxLoadSeconds } = this.#options;
    const now = Date.now();
    for (const slot of this.#taken) if (slot.untilMs < now) this.#taken.delete(slot);
    if (this.#taken.size >= maxLoads) throw tooMany(maxLoads);
    const slot = { untilMs: now + maxLoadSeconds * 1000 + cleanUpMs };
    this.#taken.add(slot);
    try {
      return await load();
    } finally {
      this.#taken.delete(slot);
    }
  }
}

function tooMany(maxLoads: number): StowageError {
  return new StowageError(
    "TOOMANYREQUESTS",
    `Cannot load now: ${maxLoads} loads are under way, as many as are allowed at once (maxLoads); try again later`,
    { detail: { limit: "maxLoads", expected: maxLoads } },
  );
}
