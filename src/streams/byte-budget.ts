/**
 * One budget of bytes for everything that the loads of a process hold while they wait for the store. Who finds it
 * empty waits its turn, and so stops reading: TCP then slows the sender down.
 *
 * Why the waiting always ends, so that no loads wait for one another for good:
 *
 * - What is taken by `take` is a blob. It is being read from a client, who is cut off when he falls silent, or is on its
 *   way to the store; for either nothing more is taken. A load that waits for its next blob with earlier ones in its hands
 *   gets rid of those meanwhile. So each is given back, whoever waits.
 * - What is taken by `takeLasting` is kept while blobs are waited for. A load takes it once, before any blob, so that who
 *   waits for it holds nothing. All of it together leaves free as much as the largest blob may take: so a blob's turn comes
 *   though none of it be given back before.
 */
import { StowageError } from "../errors.ts";

/** Bytes that lasting shares leave free: what one blob that is streamed takes. */
const blobBytes = 32 * 1024 * 1024;

/** Gives taken bytes back; more than once is the same as once. */
export type Release = () => void;

interface Waiter {
  /** When it last looked whether it is its turn. */
  seenMs: number;
  wake: () => void;
}

/** Who waits looks again so often, even if nobody wakes it. */
const lookAgainMs = 250;
/** Who has not looked for so long is gone. */
const goneMs = 5000;

/** Bytes of memory that several loads share. Whoever finds too few of them waits. */
export class ByteBudget {
  /** How many there are in all. */
  readonly maxBytes: number;
  /** How many of them lasting shares get at most, all together. */
  readonly #maxLastingBytes: number;
  #free: number;
  /** Whose turn it is to hold a lasting share. */
  #lasting: ByteBudget | undefined;
  readonly #waiters: Waiter[] = [];

  /** A blob that is streamed into S3 takes 30 MiB: with less than that, large ones are refused. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#free = maxBytes;
    this.#maxLastingBytes = Math.max(0, Math.min(Math.floor(maxBytes / 2), maxBytes - blobBytes));
  }

  /** Does anybody wait? */
  get isCrowded(): boolean {
    return this.#waiters.length > 0 || this.#lasting?.isCrowded === true;
  }

  /** Takes `bytes`, once they are free, first come first served. Throws `LIMIT_EXCEEDED` if they never can be. */
  async take(bytes: number, signal: AbortSignal): Promise<Release> {
    const allowed = this.maxBytes - this.#maxLastingBytes;
    if (bytes <= allowed) return this.#takeInTurn(bytes, signal);
    throw new StowageError(
      "LIMIT_EXCEEDED",
      `Cannot hold ${bytes} bytes at once: maxBufferBytes allows ${this.maxBytes} for the whole process, ${allowed} for one blob`,
      { detail: { limit: "maxBufferBytes", found: bytes, expected: allowed } },
    );
  }

  /**
   * Takes what is kept while further bytes are taken, before any of those. One that is larger than all such may be together
   * is let in by itself and takes no more than that; its caller has a cap for it.
   */
  async takeLasting(bytes: number, signal: AbortSignal): Promise<Release> {
    this.#lasting ??= new ByteBudget(Math.max(1, this.#maxLastingBytes));
    const endTurn = await this.#lasting.#takeInTurn(Math.min(bytes, this.#lasting.maxBytes), signal);
    try {
      const give = await this.#takeInTurn(Math.min(bytes, this.#maxLastingBytes), signal);
      return () => {
        give();
        endTurn();
      };
    } catch (error) {
      endTurn();
      throw error;
    }
  }

  async #takeInTurn(bytes: number, signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted();
    if (this.#waiters.length > 0 || bytes > this.#free) await this.#wait(bytes, signal);
    else this.#free -= bytes;
    let taken = true;
    return () => {
      if (taken) this.#give(bytes);
      taken = false;
    };
  }

  /**
   * Each takes its bytes itself when it finds that it is its turn, woken by whoever gives some back or by a timer of its
   * own. To be handed them would not do: on Workers a request may be ended without a word, and one that only waits for
   * another is taken for hung.
   */
  async #wait(bytes: number, signal: AbortSignal): Promise<void> {
    const waiter: Waiter = { seenMs: 0, wake: () => undefined };
    try {
      do {
        waiter.seenMs = Date.now();
        if (!this.#waiters.includes(waiter)) this.#waiters.push(waiter);
        await wokenOrAborted(waiter, signal);
      } while (this.#next() !== waiter || bytes > this.#free);
      this.#free -= bytes;
    } finally {
      if (this.#waiters.includes(waiter)) this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      this.#next()?.wake();
    }
  }

  #give(bytes: number): void {
    this.#free += bytes;
    this.#next()?.wake();
  }

  /** Whose turn it is; those who are gone are forgotten. */
  #next(): Waiter | undefined {
    const now = Date.now();
    while (this.#waiters[0] !== undefined && now - this.#waiters[0].seenMs > goneMs) this.#waiters.shift();
    return this.#waiters[0];
  }
}

/** Waits until it is worth another look. */
function wokenOrAborted(waiter: Waiter, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = (): void => settle(() => reject(signal.reason as Error));
    waiter.wake = () => settle(resolve);
    const timer = setTimeout(waiter.wake, lookAgainMs);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
