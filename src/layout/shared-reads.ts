/**
 * Shares the reads of one object among many requests. A request that comes during a read waits for the next read. All waiting
 * requests share this next read. So the object is in memory at most twice, and no request gets a state that is older than the
 * request. If the store does not answer a read, the waiting requests fail too: the store has been asked several times already.
 */
import { StowageError } from "../errors.ts";
import { orAbort } from "../streams/abortable.ts";
import { inTime } from "../streams/in-time.ts";

/**
 * A wait has a limit: on Workers a request may be stopped, and the read that it began stops with it. The limit is longer than a
 * read from a store that does not answer (`storage/s3/s3-client.ts`).
 */
const maxWaitMs = 45_000;

export class SharedReads<T> {
  /** By key, the read that is under way. */
  readonly #running = new Map<string, Promise<T>>();
  /** By key, the read that begins when the running one has ended. */
  readonly #next = new Map<string, Promise<T>>();

  /** Calls `begin`, or waits for the read of another request. The signal ends the wait, not the read. */
  async read(key: string, begin: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const read = this.#next.get(key) ?? this.#line(key, begin);
    if (await orAbort(inTime(read, maxWaitMs), signal)) return read;
    this.#running.delete(key);
    this.#next.delete(key);
    return begin();
  }

  async #line(key: string, begin: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    if (running === undefined) return this.#start(key, begin);
    const next: Promise<T> = running.catch(passOnSilence).then(
      async () => {
        this.#endLine(key, next);
        return this.#start(key, begin);
      },
      (error: unknown) => {
        this.#endLine(key, next);
        throw error;
      },
    );
    this.#next.set(key, next);
    return next;
  }

  #endLine(key: string, next: Promise<T>): void {
    if (this.#next.get(key) === next) this.#next.delete(key);
  }

  async #start(key: string, begin: () => Promise<T>): Promise<T> {
    const running = begin();
    this.#running.set(key, running);
    try {
      return await running;
    } finally {
      if (this.#running.get(key) === running) this.#running.delete(key);
    }
  }
}

function passOnSilence(error: unknown): void {
  if (error instanceof StowageError && error.code === "STORE_UNAVAILABLE") throw error;
}
