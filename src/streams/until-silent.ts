/** A stream that ends with `TIMED_OUT` when its source falls silent: who says little must not hold memory for good. */
import { StowageError } from "../errors.ts";
import { type Timer, startTimer } from "./start-timer.ts";

/**
 * The longest silence while others wait for memory, so that a crowd of silent clients, who are found out one after the
 * other, does not keep everybody waiting for hours. Not before the first byte: nothing is held then, and an engine that
 * saves a large image says nothing for minutes at first.
 */
const maxCrowdedIdleSeconds = 20;
/** Who brings less in so many seconds of waiting holds up a crowd just as well: a kilobyte a second. */
const minCrowdedBytes = 20 * 1024;

export interface SilenceLimits {
  readonly maxIdleSeconds: number;
  /** Does anybody wait for memory that others hold? */
  readonly isCrowded?: (() => boolean) | undefined;
}

/**
 * Counts the time only while a chunk is awaited: a source that is not read, because the store is slow, is not silent. Opens
 * the source when the first chunk is asked for. Written out rather than as a generator: every byte passes here.
 */
export function untilSilent(source: AsyncIterable<Uint8Array>, limits: SilenceLimits): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => watched(source[Symbol.asyncIterator](), limits) };
}

function watched(
  chunks: AsyncIterator<Uint8Array>,
  { maxIdleSeconds, isCrowded = () => false }: SilenceLimits,
): AsyncIterator<Uint8Array> {
  let hasBegun = false;
  const pace = new Pace();
  return {
    next: async () =>
      new Promise((resolve, reject) => {
        const end = (error: StowageError): void => {
          reject(error);
          // Not awaited: a stalled generator answers `return` only once its source goes on.
          chunks.return?.().then(undefined, () => undefined);
        };
        const askedMs = hasBegun ? Date.now() : undefined;
        let timer: Timer;
        const wait = (waited: number): void => {
          const step = Math.min(hasBegun ? maxCrowdedIdleSeconds : maxIdleSeconds, maxIdleSeconds - waited);
          timer = startTimer(step, () => {
            const seconds = waited + step;
            if (seconds >= maxIdleSeconds || isCrowded()) end(silent(seconds, maxIdleSeconds));
            else wait(seconds);
          });
        };
        wait(0);
        const awaited = chunks.next().finally(() => {
          timer.stop();
          hasBegun = true;
        });
        awaited.then((result) => {
          const isSlow =
            result.done !== true && askedMs !== undefined && pace.isSlow(result.value.length, Date.now() - askedMs);
          if (isSlow && isCrowded()) end(slow());
          else resolve(result);
        }, reject);
      }),
    return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
  };
}

/** Counts what comes in each while of waiting. */
class Pace {
  #bytes = 0;
  #waitedMs = 0;

  /** Has such a while just ended in which too little came? */
  isSlow(bytes: number, waitedMs: number): boolean {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
    if (this.#waitedMs < maxCrowdedIdleSeconds * 1000) return false;
    const isSlow = this.#bytes < minCrowdedBytes;
    this.#bytes = 0;
    this.#waitedMs = 0;
    return isSlow;
  }
}

function slow(): StowageError {
  return new StowageError(
    "TIMED_OUT",
    `Cannot read on: the client sent less than ${minCrowdedBytes} bytes in ${maxCrowdedIdleSeconds} seconds, while others wait for memory`,
    { detail: { expected: minCrowdedBytes, seconds: maxCrowdedIdleSeconds } },
  );
}

function silent(seconds: number, maxIdleSeconds: number): StowageError {
  const why =
    seconds >= maxIdleSeconds
      ? "which is the longest allowed (maxIdleSeconds)"
      : `while others wait for memory; otherwise ${maxIdleSeconds} are allowed (maxIdleSeconds)`;
  return new StowageError("TIMED_OUT", `Cannot read on: the client sent nothing for ${seconds} seconds, ${why}`, {
    detail: { limit: "maxIdleSeconds", found: seconds, expected: maxIdleSeconds },
  });
}
