/**
 * A line to wait in for what a process has little of: bytes of memory, turns, connections to the store.
 *
 * Callers share it. A caller is whoever a request counts for: a token, or everybody without one. A caller that is alone may
 * hold everything. While several are present, each holds at most an equal share, or a single hold that is larger. Free
 * units go to the caller that holds least, then to the request that came first.
 *
 * Nothing waits on a request that is gone. On Workers a request can end without running its `finally`. So a waiting request
 * looks again by a timer of its own, and a hold is renewed by one. A waiter or a hold whose timer has stopped is forgotten.
 */
import { StowageError } from "../errors.ts";

/** Gives the held units back. Only the first call counts. */
export type Release = () => void;

export interface LineOptions {
  /** Units that can be held at the same time. */
  readonly capacity: number;
  /** What the units are, in the plural, for messages: `loads`. */
  readonly units: string;
  /** The limit that sets the capacity, for messages: `maxLoads`. */
  readonly limit: string;
}

export interface AcquireOptions {
  /** The name of the caller that the units are held for. */
  readonly caller: string;
  /** Ends the waiting with the signal's reason. */
  readonly signal: AbortSignal;
  /** The longest wait in milliseconds. The wait has no end without it. */
  readonly maxWaitMs?: number | undefined;
  /**
   * Does the hold count for its caller's share? `false` is for a hold that is kept while its request waits for another hold
   * in the same line: counted, both could wait for each other without an end.
   */
  readonly isCounted?: boolean | undefined;
}

interface Waiter {
  readonly caller: string;
  readonly amount: number;
  readonly isCounted: boolean;
  /** When the waiter last looked whether it is its turn. */
  seenMs: number;
  wake: () => void;
}

interface Hold {
  readonly caller: string;
  readonly amount: number;
  readonly isCounted: boolean;
  /** When the hold was last renewed. */
  seenMs: number;
}

interface Account {
  /** Units of the counted holds. */
  held: number;
  /** Number of the counted holds. */
  holds: number;
  /** When the caller last waited, or gave units back. */
  seenMs: number;
}

/** A waiter looks again this often, also if nothing wakes it. */
const lookAgainMs = 250;
/** A waiter that has not looked for this long is gone. */
const waiterGoneMs = 5000;
/** A hold is renewed this often. */
const renewMs = 5000;
/** A hold that was not renewed for this long is gone. */
const holdGoneMs = 60_000;
/** A caller stays present for this long after its last hold. So a flood of requests does not refill every pause of others. */
const presentMs = 10_000;

export class Line {
  readonly capacity: number;
  readonly #options: LineOptions;
  #free: number;
  readonly #waiters: Waiter[] = [];
  readonly #holds = new Set<Hold>();
  /** By caller. Those of absent callers are dropped from time to time. */
  readonly #accounts = new Map<string, Account>();
  /** When gone holds were last looked for. */
  #forgottenMs = 0;

  constructor(options: LineOptions) {
    this.capacity = options.capacity;
    this.#free = options.capacity;
    this.#options = options;
  }

  /** Does a request wait? */
  get isCrowded(): boolean {
    return this.#next(Date.now()) !== undefined;
  }

  /** Units that are held at the moment. */
  get held(): number {
    return this.capacity - this.#free;
  }

  /** Does another caller wait, while this one holds more than its share by more than one hold? */
  isOverdrawn(caller: string): boolean {
    const account = this.#accounts.get(caller);
    if (account === undefined || account.holds < 2) return false;
    const now = Date.now();
    this.#forgetGoneWaiters(now);
    if (!this.#waiters.some((waiter) => waiter.caller !== caller)) return false;
    return account.held > this.#shareOf(now);
  }

  /**
   * Holds `amount` units until they are released, at most `capacity`. Throws `TOOMANYREQUESTS` if they were not to be had
   * within `maxWaitMs`.
   */
  async acquire(amount: number, options: AcquireOptions): Promise<Release> {
    options.signal.throwIfAborted();
    if (amount > this.capacity) throw new RangeError(`found ${amount} units, expected at most ${this.capacity}`);
    const { caller, isCounted = true } = options;
    const waiter: Waiter = { caller, amount, isCounted, seenMs: Date.now(), wake: () => undefined };
    this.#accountOf(caller).seenMs = waiter.seenMs;
    this.#waiters.push(waiter);
    try {
      await this.#turnOf(waiter, options);
    } finally {
      const place = this.#waiters.indexOf(waiter);
      if (place !== -1) this.#waiters.splice(place, 1);
      if (this.#waiters.length > 0) this.#wakeNext();
    }
    return this.#hold(waiter);
  }

  /** Waits until it is the waiter's turn. Takes the units in the same step, so that nothing comes in between. */
  async #turnOf(waiter: Waiter, { signal, maxWaitMs = Number.POSITIVE_INFINITY }: AcquireOptions): Promise<void> {
    const endMs = Date.now() + maxWaitMs;
    while (this.#next(Date.now()) !== waiter || waiter.amount > this.#free) {
      const now = Date.now();
      if (now >= endMs) throw this.#tooMany(maxWaitMs);
      await wokenOrAborted(waiter, { ms: Math.min(lookAgainMs, endMs - now), signal });
      waiter.seenMs = Date.now();
      this.#accountOf(waiter.caller).seenMs = waiter.seenMs;
      if (!this.#waiters.includes(waiter)) this.#waiters.push(waiter); // its process was stopped for a while
    }
    this.#free -= waiter.amount;
  }

  #hold({ caller, amount, isCounted }: Waiter): Release {
    const hold: Hold = { caller, amount, isCounted, seenMs: Date.now() };
    this.#holds.add(hold);
    if (isCounted) {
      const account = this.#accountOf(caller);
      account.held += amount;
      account.holds++;
    }
    const timer: ReturnType<typeof setInterval> | number = setInterval(() => (hold.seenMs = Date.now()), renewMs);
    if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
    return () => {
      clearInterval(timer);
      this.#drop(hold);
      this.#wakeNext();
    };
  }

  #drop(hold: Hold): void {
    if (!this.#holds.delete(hold)) return;
    this.#free += hold.amount;
    const account = this.#accountOf(hold.caller);
    account.seenMs = Date.now();
    if (!hold.isCounted) return;
    account.held -= hold.amount;
    account.holds--;
  }

  #wakeNext(): void {
    this.#next(Date.now())?.wake();
  }

  /** Whose turn it is, whether or not there is room for it yet. */
  #next(now: number): Waiter | undefined {
    if (this.#waiters.length === 0) return undefined;
    this.#forgetGoneWaiters(now);
    this.#forgetGoneHolds(now);
    const share = this.#shareOf(now);
    let next: Waiter | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const waiter of this.#waiters) {
      const { held, holds } = this.#accountOf(waiter.caller);
      const isWithinShare = !waiter.isCounted || holds === 0 || held + waiter.amount <= share;
      if (isWithinShare && held < least) [next, least] = [waiter, held];
    }
    return next;
  }

  #shareOf(now: number): number {
    let present = 0;
    for (const [caller, account] of this.#accounts) {
      if (account.holds > 0 || now - account.seenMs < presentMs) present++;
      else this.#accounts.delete(caller);
    }
    return this.capacity / Math.max(1, present);
  }

  #forgetGoneWaiters(now: number): void {
    for (let i = this.#waiters.length - 1; i >= 0; i--) {
      const waiter = this.#waiters[i];
      if (waiter !== undefined && now - waiter.seenMs > waiterGoneMs) this.#waiters.splice(i, 1);
    }
  }

  #forgetGoneHolds(now: number): void {
    if (now - this.#forgottenMs < renewMs) return; // there may be thousands
    this.#forgottenMs = now;
    for (const hold of this.#holds) if (now - hold.seenMs > holdGoneMs) this.#drop(hold);
  }

  #accountOf(caller: string): Account {
    const account = this.#accounts.get(caller) ?? { held: 0, holds: 0, seenMs: Date.now() };
    this.#accounts.set(caller, account);
    return account;
  }

  #tooMany(maxWaitMs: number): StowageError {
    const { units, limit } = this.#options;
    return new StowageError(
      "TOOMANYREQUESTS",
      `Cannot go on now: all ${this.capacity} ${units} that are allowed at once (${limit}) have been in use for ` +
        `${maxWaitMs / 1000} seconds; try again later`,
      { detail: { limit, expected: this.capacity } },
    );
  }
}

interface WaitOptions {
  readonly ms: number;
  readonly signal: AbortSignal;
}

/** Waits until it is worth another look. */
function wokenOrAborted(waiter: Waiter, { ms, signal }: WaitOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = (): void => settle(() => reject(signal.reason as Error));
    waiter.wake = () => settle(resolve);
    const timer = setTimeout(waiter.wake, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
