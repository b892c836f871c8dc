/**
 * A line to wait in for what a process has little of: bytes of memory, turns, connections to the store.
 *
 * Callers share it. A caller is the name that a request counts for: a token's, or one name for everybody without a token.
 *
 * - A caller that is alone may hold everything.
 * - While several are present, each may hold an equal share, or a single hold that is larger. It may hold more than that
 *   while no other caller waits and half of the units stay free.
 * - Free units go to the caller that holds least, then to the request that came first. The requests of one caller are
 *   served in the order in which they came.
 *
 * Nothing waits on a request that is gone. On Workers a request can end without running its `finally`. So a waiting request
 * looks again by a timer of its own, and a hold is renewed by one. A waiter or a hold whose timer has stopped is forgotten.
 * Times are those of `performance.now()`: they go on evenly when somebody sets the clock.
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
  /** Requests of one caller that may wait at the same time, of those with a `maxWaitMs`. 128 by default. */
  readonly maxWaiters?: number | undefined;
}

export interface HoldOptions {
  /** The name of the caller that the units are held for. */
  readonly caller: string;
  /**
   * Does the hold count for its caller's share? `false` is for a hold that is kept while its request waits for another hold
   * in the same line: counted, both could wait for each other without an end.
   */
  readonly isCounted?: boolean | undefined;
}

export interface AcquireOptions extends HoldOptions {
  /** Ends the waiting with the signal's reason. */
  readonly signal: AbortSignal;
  /**
   * The longest wait in milliseconds. The wait has no end without it. With it, only `maxWaiters` requests of one caller may
   * wait.
   */
  readonly maxWaitMs?: number | undefined;
}

/** A request that waits. Requests of all callers are numbered in the order in which they came. */
interface Waiter {
  readonly number: number;
  readonly account: Account;
  readonly amount: number;
  readonly isCounted: boolean;
  /** When the waiter last looked whether it is its turn. */
  seenMs: number;
  wake: () => void;
}

interface Hold {
  readonly account: Account;
  readonly amount: number;
  readonly isCounted: boolean;
  /** When the hold was last renewed. */
  seenMs: number;
  /** When the hold was first found to be too old, if it was not renewed since. */
  doubtedMs?: number | undefined;
}

/** What a caller holds and waits for. */
interface Account {
  /** Units of the counted holds. */
  held: number;
  /** Number of the counted holds. */
  holds: number;
  /** In the order in which they came. */
  readonly waiters: Set<Waiter>;
  /** When the caller last waited, or gave units back. */
  seenMs: number;
}

/** What the line looks like to one look at it. */
interface Look {
  /** Units that each present caller may hold in any case. */
  readonly share: number;
  /** The first waiter of each caller that has one. */
  readonly heads: readonly Waiter[];
}

/** How long a request waits, at most, for its turn among loads, parts or small bodies. Then it is told to come again. */
export const maxTurnWaitMs = 10_000;

/** Waiting requests of one caller. Each has a body that is not read meanwhile, and takes memory all the same. */
const defaultMaxWaiters = 128;

/** A waiter looks again this often, also if nothing wakes it. */
const lookAgainMs = 250;
/** A waiter that has not looked for this long is gone. */
const waiterGoneMs = 5000;
/** A hold is renewed this often. */
const renewMs = 5000;
/** A hold that was not renewed for this long is gone. */
const holdGoneMs = 60_000;
/**
 * It is forgotten this much later. After a process was stopped for a minute, the timers of holds that are not gone may run
 * only after a look.
 */
const doubtMs = 2 * renewMs;
/** A caller stays present for this long after its last hold. So a flood of requests does not refill every pause of others. */
const presentMs = 10_000;
/** Of the units. They stay free for callers below their share while one has more than its share. */
const reservedFraction = 1 / 2;

export class Line {
  readonly capacity: number;
  readonly #options: LineOptions;
  #free: number;
  /** By caller. Those of absent callers are dropped from time to time. */
  readonly #accounts = new Map<string, Account>();
  readonly #holds = new Set<Hold>();
  #lastNumber = 0;
  /** When gone holds were last looked for. */
  #forgottenMs = 0;

  constructor(options: LineOptions) {
    this.capacity = options.capacity;
    this.#free = options.capacity;
    this.#options = options;
  }

  /** Does a request wait for units that others hold, and not only for its own caller's share? */
  get isCrowded(): boolean {
    return this.#next() !== undefined;
  }

  /** Does any request wait, also one that waits only for its own caller's share? */
  get hasWaiters(): boolean {
    return this.#look().heads.length > 0;
  }

  /** Units that are held at the moment. */
  get held(): number {
    return this.capacity - this.#free;
  }

  /** Does this caller hold more than its share, by several holds, while another waits for what is within its own share? */
  isOverdrawn(caller: string): boolean {
    const account = this.#accounts.get(caller);
    if (account === undefined || account.holds < 2) return false;
    const { share, heads } = this.#look();
    return account.held > share && heads.some((head) => head.account !== account && isWithinShare(head, share));
  }

  /**
   * Holds `amount` units until they are released, at most `capacity`. Throws `TOOMANYREQUESTS` if they were not to be had
   * within `maxWaitMs`, or if too many requests of this caller wait.
   */
  async acquire(amount: number, { signal, maxWaitMs, ...options }: AcquireOptions): Promise<Release> {
    signal.throwIfAborted();
    const waiter = this.#enter(amount, options);
    try {
      await this.#turnOf(waiter, { signal, maxWaitMs });
      return this.#hold(waiter);
    } finally {
      waiter.account.waiters.delete(waiter);
      this.#next()?.wake();
    }
  }

  /** Holds `amount` units if they can be had without waiting. */
  tryAcquire(amount: number, options: HoldOptions): Release | undefined {
    const waiter = this.#enter(amount, options);
    try {
      return this.#isTurnOf(waiter) ? this.#hold(waiter) : undefined;
    } finally {
      waiter.account.waiters.delete(waiter);
    }
  }

  #enter(amount: number, { caller, isCounted = true }: HoldOptions): Waiter {
    if (amount > this.capacity) throw new RangeError(`found ${amount} units, expected at most ${this.capacity}`);
    const seenMs = performance.now();
    const account = this.#accounts.get(caller) ?? { held: 0, holds: 0, waiters: new Set(), seenMs };
    this.#accounts.set(caller, account);
    account.seenMs = seenMs;
    const waiter = { number: ++this.#lastNumber, account, amount, isCounted, seenMs, wake: () => undefined };
    account.waiters.add(waiter);
    return waiter;
  }

  async #turnOf(
    waiter: Waiter,
    { signal, maxWaitMs = Number.POSITIVE_INFINITY }: Pick<AcquireOptions, "signal" | "maxWaitMs">,
  ): Promise<void> {
    const { maxWaiters = defaultMaxWaiters } = this.#options;
    const isInFront = waiter.account.waiters.size <= maxWaiters || maxWaitMs === Number.POSITIVE_INFINITY;
    const endMs = isInFront ? performance.now() + maxWaitMs : 0;
    while (!this.#isTurnOf(waiter)) {
      const now = performance.now();
      if (now >= endMs) throw this.#tooMany(isInFront ? `for ${maxWaitMs / 1000} seconds` : "while others wait");
      await wokenOrAborted(waiter, { ms: Math.min(lookAgainMs, endMs - now), signal });
      waiter.seenMs = performance.now();
      waiter.account.seenMs = waiter.seenMs;
      waiter.account.waiters.add(waiter); // it was forgotten if its process was stopped for a while
    }
  }

  #isTurnOf(waiter: Waiter): boolean {
    return this.#next() === waiter && waiter.amount <= this.#free;
  }

  #hold({ account, amount, isCounted }: Waiter): Release {
    const hold: Hold = { account, amount, isCounted, seenMs: performance.now() };
    this.#holds.add(hold);
    this.#free -= amount;
    if (isCounted) {
      account.held += amount;
      account.holds++;
    }
    const renew = (): void => {
      hold.seenMs = performance.now();
      hold.doubtedMs = undefined;
    };
    const timer: ReturnType<typeof setInterval> | number = setInterval(renew, renewMs);
    if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
    return () => {
      clearInterval(timer);
      this.#drop(hold);
      this.#next()?.wake();
    };
  }

  #drop(hold: Hold): void {
    if (!this.#holds.delete(hold)) return;
    const { account, amount, isCounted } = hold;
    this.#free += amount;
    account.seenMs = performance.now();
    if (!isCounted) return;
    account.held -= amount;
    account.holds--;
  }

  /** Whose turn it is, whether or not there is room for it yet. */
  #next(): Waiter | undefined {
    const { share, heads } = this.#look();
    let next: Waiter | undefined;
    for (const head of heads) {
      if (!isWithinShare(head, share) && (heads.length > 1 || !this.#isBeyondReserve(head))) continue;
      if (next === undefined || comesBefore(head, next)) next = head;
    }
    return next;
  }

  /** Does enough stay free for other callers? */
  #isBeyondReserve({ amount }: Waiter): boolean {
    return this.#free - amount >= this.capacity * reservedFraction;
  }

  #look(): Look {
    const now = performance.now();
    this.#forgetGoneHolds(now);
    const heads: Waiter[] = [];
    let present = 0;
    for (const [caller, account] of this.#accounts) {
      const head = firstOf(account, now);
      if (head !== undefined) heads.push(head);
      if (head !== undefined || account.holds > 0 || now - account.seenMs < presentMs) present++;
      else this.#accounts.delete(caller);
    }
    return { share: this.capacity / Math.max(1, present), heads };
  }

  #forgetGoneHolds(now: number): void {
    if (now - this.#forgottenMs < renewMs) return; // there may be thousands
    this.#forgottenMs = now;
    for (const hold of this.#holds) {
      if (now - hold.seenMs <= holdGoneMs) continue;
      hold.doubtedMs ??= now;
      if (now - hold.doubtedMs > doubtMs) this.#drop(hold);
    }
  }

  #tooMany(when: string): StowageError {
    const { units, limit } = this.#options;
    return new StowageError(
      "TOOMANYREQUESTS",
      `Cannot go on now: none of the ${this.capacity} ${units} that are allowed at once (${limit}) was to be had ${when}; ` +
        "callers share them; try again later",
      { detail: { limit, expected: this.capacity } },
    );
  }
}

/** The first waiter of a caller. Those before it that are gone are forgotten. */
function firstOf({ waiters }: Account, now: number): Waiter | undefined {
  for (const waiter of waiters) {
    if (now - waiter.seenMs <= waiterGoneMs) return waiter;
    waiters.delete(waiter);
  }
  return undefined;
}

function isWithinShare({ account, amount, isCounted }: Waiter, share: number): boolean {
  return !isCounted || account.holds === 0 || account.held + amount <= share;
}

function comesBefore(a: Waiter, b: Waiter): boolean {
  return a.account.held < b.account.held || (a.account.held === b.account.held && a.number < b.number);
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
