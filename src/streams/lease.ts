/**
 * Tells whether the request behind a hold is still there. A lease renews itself by a timer. On Workers the timer stops when
 * its request ends without running its `finally`.
 */

/** A lease is renewed this often. */
export const renewMs = 5000;
/** A lease that was not renewed for this long is doubted. */
const doubtedMs = 60_000;
/**
 * A doubted lease is over after this time. After a process was stopped for a minute, the timers of requests that are still
 * there may run only after a look.
 */
const overMs = 2 * renewMs;

export class Lease {
  #renewedMs = performance.now();
  /** When a look first found the lease too old, if it was not renewed since. */
  #doubtedSinceMs: number | undefined;
  readonly #timer: ReturnType<typeof setInterval> | number;

  constructor() {
    this.#timer = setInterval(() => this.#renew(), renewMs);
    if (typeof this.#timer === "object" && "unref" in this.#timer) this.#timer.unref(); // a number on workerd
  }

  /** Looks whether the request is gone. It takes two looks to say so. */
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
