/**
 * Decides whose turn it is in a line (`line.ts`). A caller is present while it waits or holds units, and for
 * `presentMs` after that. Present callers have equal shares.
 */

/** The units that a caller holds, and the requests that wait. */
interface Account {
  /** Units of the holds that count for the caller's share. */
  held: number;
  /** Number of the holds that count for the caller's share. */
  holds: number;
  /** In order of arrival. */
  readonly waiters: Set<Waiter>;
  /** When the caller last waited, or gave units back. */
  seenMs: number;
}

/** Units that a caller holds or wants to hold. */
export interface Claim {
  readonly account: Account;
  readonly amount: number;
  /** Does the claim count for its caller's share? */
  readonly isCounted: boolean;
}

/** A request that waits. Requests of all callers are numbered by arrival. */
export interface Waiter extends Claim {
  readonly number: number;
  /** When the waiter last looked whether it is its turn. */
  seenMs: number;
  wake: () => void;
}

/** The state of the line at one moment. */
interface LineState {
  /** Units that each present caller may always hold. */
  readonly share: number;
  /** The first waiter of each caller that waits. */
  readonly heads: readonly Waiter[];
}

/** A waiter that has not looked for this long is gone. */
const waiterGoneMs = 5000;
/**
 * A caller stays present for this long after its last hold. Otherwise a flood of requests would fill every pause of the
 * other callers.
 */
const presentMs = 10_000;
/** This part of the units stays free for callers below their share, while a caller has more than its share. */
const reservedFraction = 1 / 2;

export class FairShares {
  readonly #capacity: number;
  /** By caller. Accounts of absent callers are dropped from time to time. */
  readonly #accounts = new Map<string, Account>();
  #lastNumber = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get hasWaiters(): boolean {
    return this.#look().heads.length > 0;
  }

  /** Units that requests wait for. */
  get waiting(): number {
    let units = 0;
    for (const { waiters } of this.#accounts.values()) for (const { amount } of waiters) units += amount;
    return units;
  }

  /**
   * Does this caller hold more than its share, by several holds, while another caller waits for units within its own
   * share?
   */
  isOverdrawn(caller: string): boolean {
    const account = this.#accounts.get(caller);
    if (account === undefined || account.holds < 2) return false;
    const { share, heads } = this.#look();
    return account.held > share && heads.some((head) => head.account !== account && isWithinShare(head, share));
  }

  /** Puts a request at the end of its caller's waiters. */
  enter(caller: string, amount: number, isCounted: boolean): Waiter {
    const seenMs = performance.now();
    const account = this.#accounts.get(caller) ?? { held: 0, holds: 0, waiters: new Set(), seenMs };
    this.#accounts.set(caller, account);
    account.seenMs = seenMs;
    const waiter = { number: ++this.#lastNumber, account, amount, isCounted, seenMs, wake: () => undefined };
    account.waiters.add(waiter);
    return waiter;
  }

  /** The waiter whose turn it is, also if `free` is not enough for it yet. */
  next(free: number): Waiter | undefined {
    const { share, heads } = this.#look();
    let next: Waiter | undefined;
    for (const head of heads) {
      const keepsReserve = free - head.amount >= this.#capacity * reservedFraction;
      if (!isWithinShare(head, share) && (heads.length > 1 || !keepsReserve)) continue;
      if (next === undefined || comesBefore(head, next)) next = head;
    }
    return next;
  }

  #look(): LineState {
    const now = performance.now();
    const heads: Waiter[] = [];
    let present = 0;
    for (const [caller, account] of this.#accounts) {
      const head = firstOf(account, now);
      if (head !== undefined) heads.push(head);
      if (head !== undefined || account.holds > 0 || now - account.seenMs < presentMs) present++;
      else this.#accounts.delete(caller);
    }
    return { share: this.#capacity / Math.max(1, present), heads };
  }
}

/** Notes that a waiter still waits. Brings back a waiter that was forgotten while its process was stopped. */
export function keepWaiting(waiter: Waiter): void {
  waiter.seenMs = performance.now();
  waiter.account.seenMs = waiter.seenMs;
  waiter.account.waiters.add(waiter);
}

/** Notes that a caller holds units. */
export function addHold({ account, amount, isCounted }: Claim): void {
  if (!isCounted) return;
  account.held += amount;
  account.holds++;
}

/** Notes that a caller has given units back. */
export function removeHold({ account, amount, isCounted }: Claim): void {
  account.seenMs = performance.now();
  if (!isCounted) return;
  account.held -= amount;
  account.holds--;
}

/** The first waiter of a caller. Waiters that are gone are forgotten. */
function firstOf({ waiters }: Account, now: number): Waiter | undefined {
  for (const waiter of waiters) {
    if (now - waiter.seenMs <= waiterGoneMs) return waiter;
    waiters.delete(waiter);
  }
  return undefined;
}

function isWithinShare({ account, amount, isCounted }: Claim, share: number): boolean {
  return !isCounted || account.holds === 0 || account.held + amount <= share;
}

function comesBefore(a: Waiter, b: Waiter): boolean {
  return a.account.held < b.account.held || (a.account.held === b.account.held && a.number < b.number);
}
