/**
 * A line for something that a process has little of: bytes of memory, turns, connections to the store.
 *
 * Callers share the line. A caller is the name that a request counts for: a token's name, or one name for all clients
 * without a token.
 *
 * - A caller that is alone may hold everything.
 * - While several callers are present, each may hold an equal share, or one hold that is larger. A caller may hold more
 *   only while no other caller waits and half of the units stay free.
 * - Free units go to the caller that holds least, then to the request that came first. The requests of one caller are
 *   served in the order of arrival.
 *
 * A request that is gone blocks nobody. On Workers a request can end without running its `finally`. So each waiting
 * request checks its turn by a timer, and each hold is renewed by a timer. If the timer stops, the waiter or the hold
 * is forgotten. Times are those of `performance.now()`, which does not jump when the clock is set.
 */
import { StowageError } from "../errors.ts";
import { type Claim, type Waiter, FairShares, addHold, keepWaiting, removeHold } from "./fair-shares.ts";
import { Lease, renewMs } from "./lease.ts";

/** Gives the held units back. Only the first call counts. */
export type Release = () => void;

interface LineOptions {
  /** Units that can be held at the same time. */
  readonly capacity: number;
  /** What the units are, in the plural, for messages: `loads`. */
  readonly units: string;
  /** The limit that sets the capacity, for messages: `maxLoads`. */
  readonly limit: string;
  /** Requests of one caller that may wait at the same time. Only requests with a `maxWaitMs` count. 128 by default. */
  readonly maxWaiters?: number | undefined;
}

interface Holder {
  /** The name of the caller that the units are held for. */
  readonly caller: string;
  /**
   * Does the hold count for its caller's share? Use `false` if the request keeps this hold while it waits for another
   * hold in the same line. If it counted, two requests of one caller could wait for each other forever.
   */
  readonly isCounted?: boolean | undefined;
}

export interface AcquireOptions extends Holder {
  /** Ends the wait. The wait rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * The longest wait in milliseconds. By default the wait has no limit. With a limit, at most `maxWaiters` requests of
   * one caller may wait.
   */
  readonly maxWaitMs?: number | undefined;
  /**
   * Asked after five seconds of waiting. If this returns true, the wait ends with `TOOMANYREQUESTS`: another caller
   * waits for something else that this request holds, such as its turn among the loads.
   */
  readonly givesWay?: (() => boolean) | undefined;
}

interface Hold extends Claim {
  readonly lease: Lease;
}

/**
 * The longest wait for a turn, for a connection to the store, or for the memory of manifests and indexes. After that
 * the client is told to come again.
 */
export const maxTurnWaitMs = 10_000;

/** A waiter checks its turn this often, also if nothing wakes it. */
const lookAgainMs = 250;

/** A request does not give way before it has waited for this long. */
const minWaitToGiveWayMs = 5000;

/** Waiting requests of one caller. Each takes some memory, although its body is not read. */
const defaultMaxWaiters = 128;

export class Line {
  readonly capacity: number;
  readonly #options: LineOptions;
  readonly #shares: FairShares;
  #free: number;
  readonly #holds = new Set<Hold>();
  /** When the holds were last checked. */
  #forgottenMs = 0;

  constructor(options: LineOptions) {
    this.capacity = options.capacity;
    this.#free = options.capacity;
    this.#options = options;
    this.#shares = new FairShares(options.capacity);
  }

  /** Does a request wait for units that others hold, and not only for its own caller's share? */
  get isCrowded(): boolean {
    return this.#next() !== undefined;
  }

  /** Does any request wait, also one that waits only for its own caller's share? */
  get hasWaiters(): boolean {
    this.#forgetGoneHolds();
    return this.#shares.hasWaiters;
  }

  /** Units that requests wait for at the moment. */
  get waiting(): number {
    return this.#shares.waiting;
  }

  /** Units that are held at the moment. */
  get held(): number {
    return this.capacity - this.#free;
  }

  /**
   * Does this caller hold more than its share, by several holds, while another caller waits for units within its own
   * share?
   */
  isOverdrawn(caller: string): boolean {
    this.#forgetGoneHolds();
    return this.#shares.isOverdrawn(caller);
  }

  /**
   * Holds `amount` units, at most `capacity`, until they are released. Throws `TOOMANYREQUESTS` if the wait is longer
   * than `maxWaitMs`, or if too many requests of this caller wait.
   */
  async acquire(amount: number, { signal, maxWaitMs, givesWay, ...options }: AcquireOptions): Promise<Release> {
    signal?.throwIfAborted();
    const waiter = this.#enter(amount, options);
    try {
      await this.#turnOf(waiter, { signal, maxWaitMs, givesWay });
      return this.#hold(waiter);
    } finally {
      waiter.account.waiters.delete(waiter);
      this.#next()?.wake();
    }
  }

  /** Does work that holds one unit. Throws the errors of `acquire`. */
  async inTurn<T>(options: AcquireOptions, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(1, options);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** Holds `amount` units if that needs no wait. */
  tryAcquire(amount: number, options: Holder): Release | undefined {
    const waiter = this.#enter(amount, options);
    try {
      return this.#isTurnOf(waiter) ? this.#hold(waiter) : undefined;
    } finally {
      waiter.account.waiters.delete(waiter);
    }
  }

  #enter(amount: number, { caller, isCounted = true }: Holder): Waiter {
    if (amount > this.capacity) throw new RangeError(`found ${amount} units, expected at most ${this.capacity}`);
    return this.#shares.enter(caller, amount, isCounted);
  }

  async #turnOf(
    waiter: Waiter,
    {
      signal,
      maxWaitMs = Number.POSITIVE_INFINITY,
      givesWay = () => false,
    }: Pick<AcquireOptions, "signal" | "maxWaitMs" | "givesWay">,
  ): Promise<void> {
    const { maxWaiters = defaultMaxWaiters } = this.#options;
    const mayWait = waiter.account.waiters.size <= maxWaiters || maxWaitMs === Number.POSITIVE_INFINITY;
    const startMs = performance.now();
    const endMs = mayWait ? startMs + maxWaitMs : 0;
    while (!this.#isTurnOf(waiter)) {
      const now = performance.now();
      if (now >= endMs) throw this.#tooMany(mayWait ? `for ${maxWaitMs / 1000} seconds` : "while others wait");
      const isYoungest = [...waiter.account.waiters].at(-1) === waiter; // one request of a caller gives way at a time: the one that has waited least
      if (now - startMs >= minWaitToGiveWayMs && isYoungest && givesWay()) {
        throw this.#tooMany("while another caller waited for a turn");
      }
      await wokenOrAborted(waiter, Math.min(lookAgainMs, endMs - now), signal);
      keepWaiting(waiter);
    }
  }

  #isTurnOf(waiter: Waiter): boolean {
    return this.#next() === waiter && waiter.amount <= this.#free;
  }

  #hold({ account, amount, isCounted }: Waiter): Release {
    const hold: Hold = { account, amount, isCounted, lease: new Lease() };
    this.#holds.add(hold);
    this.#free -= amount;
    addHold(hold);
    return () => {
      hold.lease.end();
      this.#drop(hold);
      this.#next()?.wake();
    };
  }

  #drop(hold: Hold): void {
    if (!this.#holds.delete(hold)) return;
    this.#free += hold.amount;
    removeHold(hold);
  }

  /** The waiter whose turn it is, also if too few units are free for it. */
  #next(): Waiter | undefined {
    this.#forgetGoneHolds();
    return this.#shares.next(this.#free);
  }

  #forgetGoneHolds(): void {
    const now = performance.now();
    if (now - this.#forgottenMs < renewMs) return; // there may be thousands of holds
    this.#forgottenMs = now;
    for (const hold of this.#holds) if (hold.lease.checkOver(now)) this.#drop(hold);
  }

  #tooMany(when: string): StowageError {
    const { units, limit } = this.#options;
    return new StowageError(
      "TOOMANYREQUESTS",
      `Cannot go on now: all ${this.capacity} ${units} that are allowed at once (${limit}) were in use ${when}; ` +
        "callers share them; try again later",
      { detail: { limit, expected: this.capacity } },
    );
  }
}

/** Waits until the waiter is woken or the time is over. Rejects when the signal fires. */
function wokenOrAborted(waiter: Waiter, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = (): void => settle(() => reject(signal?.reason as Error));
    waiter.wake = () => settle(resolve);
    const timer = setTimeout(waiter.wake, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
