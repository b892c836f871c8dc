/**
 * Tells whether the request of a hold still exists. A lease renews itself by a timer. On Workers, a request can end
 * without running its `finally`. The timer then stops, and the lease is over.
 */

/** A lease is renewed this often. */
export const renewMs = 5000;
/** A lease is in doubt if it was not renewed for this long. */
const doubtedMs = 60_000;
/**
 * A lease is over after being in doubt for this long. A process may have been stopped for a minute, and a check may run
 * before the timers of its live requests. In this time these timers renew their leases.
 */
const overMs = 2 * renewMs;

export class Lease {
  #renewedMs = performance.now();
  /** When a check first put the lease in doubt, if it was not renewed since. */
  #doubtedSinceMs: number | undefined;
  readonly #timer: ReturnType<typeof setInterval> | number;

  constructor() {
    this.#timer = setInterval(() => this.#renew(), renewMs);
    if (typeof this.#timer === "object" && "unref" in this.#timer) this.#timer.unref(); // a number on workerd
  }

  /** Is the request gone? Only the second check can say so. */
  checkOver(now: number): boolean {
    if (now - this.#renewedMs <= doubtedMs) return false;
    this.#doubtedSinceMs ??= now;
    return now - this.#doubtedSinceMs > overMs;
  }

  /** Stops the timer. Only the lease's own request may call it. */
  end(): void {
    clearInterval(this.#timer);
  }

  #renew(): void {
    this.#renewedMs = performance.now();
    this.#doubtedSinceMs = undefined;
  }
}
