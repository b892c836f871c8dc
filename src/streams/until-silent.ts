/**
 * A stream that ends with `TIMED_OUT` when its source is silent or slow for too long. A client that sends little must not
 * hold memory, or a turn, that others wait for.
 */
import { StowageError } from "../errors.ts";
import { type Timer, startTimer } from "./in-time.ts";

export interface SilenceLimits {
  readonly maxIdleSeconds: number;
  /** Does a request wait for memory that others hold? */
  readonly isCrowded?: (() => boolean) | undefined;
  /** Does the source's caller hold more than its share, while another caller waits? */
  readonly isOverdrawn?: (() => boolean) | undefined;
}

/** The least that a source has to bring while others wait. It does not apply before the first byte: nothing is held then. */
interface Demand {
  /** In each while of this many seconds of waiting for the source it has to bring `minBytes`, and never nothing. */
  readonly seconds: number;
  readonly minBytes: number;
  readonly applies: () => boolean;
  /** For messages: who waits. */
  readonly why: string;
}

function demandsOf({ isCrowded, isOverdrawn }: SilenceLimits): readonly Demand[] {
  const demands: Demand[] = [];
  if (isOverdrawn !== undefined) {
    const why = "while another client waits and this one holds more than its share";
    demands.push({ seconds: 5, minBytes: 5 * 1024 * 1024, applies: isOverdrawn, why });
  }
  if (isCrowded !== undefined) {
    demands.push({ seconds: 20, minBytes: 20 * 1024, applies: isCrowded, why: "while others wait for memory" });
  }
  return demands;
}

/**
 * Counts the time only while a chunk is awaited: a source that is not read, because the store is slow, is not silent. Opens
 * the source when the first chunk is asked for. A hand-written iterator: every byte passes here.
 */
export function untilSilent(source: AsyncIterable<Uint8Array>, limits: SilenceLimits): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => watched(source[Symbol.asyncIterator](), limits) };
}

function watched(chunks: AsyncIterator<Uint8Array>, limits: SilenceLimits): AsyncIterator<Uint8Array> {
  const { maxIdleSeconds } = limits;
  const demands = demandsOf(limits);
  const paces = demands.map((demand) => new Pace(demand));
  let hasBegun = false;
  return {
    next: async () =>
      new Promise((resolve, reject) => {
        const end = (error: StowageError): void => {
          reject(error);
          // Not awaited: a stalled generator answers `return` only once its source goes on.
          chunks.return?.().then(undefined, () => undefined);
        };
        const askedMs = hasBegun ? performance.now() : undefined;
        const steps = hasBegun ? demands : [];
        let timer: Timer;
        const wait = (waited: number): void => {
          const until = Math.min(maxIdleSeconds, ...steps.map((demand) => nextMultiple(demand.seconds, waited)));
          timer = startTimer(until - waited, () => {
            const unmet = steps.find((demand) => until % demand.seconds === 0 && demand.applies());
            if (until >= maxIdleSeconds) end(silent(until, maxIdleSeconds));
            else if (unmet !== undefined) end(silent(until, maxIdleSeconds, unmet));
            else wait(until);
          });
        };
        wait(0);
        const awaited = chunks.next().finally(() => {
          timer.stop();
          hasBegun = true;
        });
        awaited.then((result) => {
          if (result.done === true || askedMs === undefined) return resolve(result);
          const waitedMs = performance.now() - askedMs;
          let unmet: Demand | undefined;
          for (const pace of paces) if (pace.isTooSlow(result.value.length, waitedMs)) unmet ??= pace.demand;
          if (unmet === undefined) resolve(result);
          else end(slow(unmet));
        }, reject);
      }),
    return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
  };
}

function nextMultiple(step: number, of: number): number {
  return (Math.floor(of / step) + 1) * step;
}

/** Counts what a source brings in each while of waiting for it. */
class Pace {
  readonly demand: Demand;
  #bytes = 0;
  #waitedMs = 0;

  constructor(demand: Demand) {
    this.demand = demand;
  }

  /** Has a while just ended in which too little came, although others wait? */
  isTooSlow(bytes: number, waitedMs: number): boolean {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
    if (this.#waitedMs < this.demand.seconds * 1000) return false;
    const isLittle = this.#bytes < this.demand.minBytes;
    this.#bytes = 0;
    this.#waitedMs = 0;
    return isLittle && this.demand.applies();
  }
}

function slow({ minBytes, seconds, why }: Demand): StowageError {
  return new StowageError(
    "TIMED_OUT",
    `Cannot read on: the client sent less than ${minBytes} bytes in ${seconds} seconds, ${why}; try again later`,
    { detail: { expected: minBytes, seconds } },
  );
}

function silent(seconds: number, maxIdleSeconds: number, unmet?: Demand): StowageError {
  const why =
    unmet === undefined
      ? "which is the longest allowed (maxIdleSeconds)"
      : `${unmet.why}; otherwise ${maxIdleSeconds} are allowed (maxIdleSeconds)`;
  return new StowageError("TIMED_OUT", `Cannot read on: the client sent nothing for ${seconds} seconds, ${why}`, {
    detail: { limit: "maxIdleSeconds", found: seconds, expected: maxIdleSeconds },
  });
}
