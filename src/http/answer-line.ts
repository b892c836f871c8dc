/** A line for answers. It also knows when a caller waits for what only that caller itself holds. */
import { StowageError } from "../errors.ts";
import { type AcquireOptions, Line, type LineOptions, type Release } from "../streams/line.ts";

/** A request waits this long before it is told to come again. */
export const maxTurnMs = 10_000;

export type TurnOptions = Pick<AcquireOptions, "caller" | "signal" | "maxWaitMs">;

export class AnswerLine {
  readonly #line: Line;
  /** Until when each request waits at most. On Workers a request can end without a word. */
  readonly #waits = new Set<{ readonly untilMs: number }>();

  constructor(options: LineOptions) {
    this.#line = new Line(options);
  }

  /** Does any request wait, also one whose own caller holds everything? */
  get hasWaiters(): boolean {
    const now = Date.now();
    for (const wait of this.#waits) {
      if (wait.untilMs >= now) return true;
      this.#waits.delete(wait);
    }
    return false;
  }

  /** Does another caller wait, while this one holds more than its share? */
  isOverdrawn(caller: string): boolean {
    return this.#line.isOverdrawn(caller);
  }

  /** Holds units, at most all of them, until they are released. Throws `TOOMANYREQUESTS` after `maxWaitMs`. */
  async acquire(amount: number, { maxWaitMs = maxTurnMs, ...options }: TurnOptions): Promise<Release> {
    const wait = { untilMs: Date.now() + maxWaitMs };
    this.#waits.add(wait);
    try {
      return await this.#line.acquire(Math.min(amount, this.#line.capacity), { ...options, maxWaitMs });
    } finally {
      this.#waits.delete(wait);
    }
  }

  /** Holds units if they can be had without waiting. */
  async tryAcquire(amount: number, options: Omit<TurnOptions, "maxWaitMs">): Promise<Release | undefined> {
    try {
      return await this.acquire(amount, { ...options, maxWaitMs: 0 });
    } catch (error) {
      if (error instanceof StowageError && error.code === "TOOMANYREQUESTS") return undefined;
      throw error;
    }
  }
}
