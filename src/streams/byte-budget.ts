/**
 * One budget of bytes for everything that the loads of a process hold while they wait for the store. Who finds it
 * empty waits its turn, and so stops reading: TCP then slows the sender down.
 *
 * No load waits with bytes in its hands that it cannot let go of: what it holds is on its way to the store, or is being
 * read from a client, whom the runtime cuts off when it falls silent. So the waiting always ends.
 */
import { StowageError } from "../errors.ts";

/** Gives taken bytes back; more than once is the same as once. */
export type Release = () => void;

interface Waiter {
  readonly bytes: number;
  readonly grant: () => void;
}

/** Bytes of memory that several loads share. Whoever finds too few of them waits. */
export class ByteBudget {
  /** How many there are in all. */
  readonly maxBytes: number;
  #free: number;
  readonly #waiters: Waiter[] = [];

  /** A blob that is streamed into S3 takes 30 MiB: with less than that, large ones are refused. */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.#free = maxBytes;
  }

  /** Takes `bytes`, once they are free, first come first served. Throws `LIMIT_EXCEEDED` if they never can be. */
  async take(bytes: number, signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted();
    if (bytes > this.maxBytes) {
      throw new StowageError(
        "LIMIT_EXCEEDED",
        `Cannot hold ${bytes} bytes at once: maxBufferBytes allows ${this.maxBytes} for the whole process`,
        { detail: { limit: "maxBufferBytes", found: bytes, expected: this.maxBytes } },
      );
    }
    if (this.#waiters.length > 0 || bytes > this.#free) await this.#wait(bytes, signal);
    else this.#free -= bytes;
    let taken = true;
    return () => {
      if (taken) this.#give(bytes);
      taken = false;
    };
  }

  #wait(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason as Error);
        this.#give(0);
      };
      const waiter: Waiter = {
        bytes,
        grant: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      this.#waiters.push(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #give(bytes: number): void {
    this.#free += bytes;
    for (let next = this.#waiters[0]; next !== undefined && next.bytes <= this.#free; next = this.#waiters[0]) {
      this.#waiters.shift();
      this.#free -= next.bytes;
      next.grant();
    }
  }
}
