/**
 * Reports a source that is silent or slow for too long (`TIMED_OUT`). A slow client must not keep memory, or a turn,
 * that others wait for.
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

/**
 * The least that a source must send while others wait. It does not apply before the first byte, because nothing is held
 * then.
 */
interface Demand {
  /** In this many seconds of waiting for the source, the source must send `minBytes`. */
  readonly seconds: number;
  readonly minBytes: number;
  readonly applies: () => boolean;
  /** Why the demand applies, for messages. */
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
 * Measures how long one source keeps its reader waiting. A source that is not read, because the store is slow, is not
 * silent.
 */
export class Silence {
  readonly #maxIdleSeconds: number;
  readonly #paces: readonly SenderPace[];
  readonly #onSilent: (error: StowageError) => void;
  #timer: Timer | undefined;
  /** When the current wait began. Undefined during the wait for the first chunk. */
  #askedMs: number | undefined;
  #hasBegun = false;

  /** Calls `onSilent` when a wait takes too long. */
  constructor(limits: SilenceLimits, onSilent: (error: StowageError) => void) {
    this.#maxIdleSeconds = limits.maxIdleSeconds;
    this.#paces = demandsOf(limits).map((demand) => new SenderPace(demand));
    this.#onSilent = onSilent;
  }

  /** A wait for a chunk begins. */
  begin(): void {
    this.#askedMs = this.#hasBegun ? performance.now() : undefined;
    this.#wait(0);
  }

  /** The wait is over. Returns an error if the source has sent too little, `bytes` included, while others waited. */
  end(bytes?: number): StowageError | undefined {
    this.#timer?.stop();
    this.#hasBegun = true;
    if (bytes === undefined || this.#askedMs === undefined) return undefined;
    const waitedMs = performance.now() - this.#askedMs;
    let unmet: Demand | undefined;
    for (const pace of this.#paces) if (pace.isTooSlow(bytes, waitedMs)) unmet ??= pace.demand;
    return unmet && slow(unmet);
  }

  /** Sets the timer for the next moment at which a demand, or the longest silence, can be over. */
  #wait(waited: number): void {
    const maxSeconds = this.#maxIdleSeconds;
    let until = maxSeconds;
    if (this.#hasBegun) {
      for (const { demand } of this.#paces) until = Math.min(until, nextMultiple(demand.seconds, waited));
    }
    this.#timer = startTimer(until - waited, () => {
      const pace = this.#paces.find(({ demand }) => until % demand.seconds === 0 && demand.applies());
      if (until >= maxSeconds) this.#onSilent(silent(until, maxSeconds));
      else if (pace !== undefined) this.#onSilent(silent(until, maxSeconds, pace.demand));
      else this.#wait(until);
    });
  }
}

function nextMultiple(step: number, of: number): number {
  return (Math.floor(of / step) + 1) * step;
}

/** Counts the bytes of a source, and the time spent waiting for them. */
class SenderPace {
  readonly demand: Demand;
  #bytes = 0;
  #waitedMs = 0;

  constructor(demand: Demand) {
    this.demand = demand;
  }

  /** Has the demand's time just ended with too few bytes, while others wait? */
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
      ? "the longest time allowed (maxIdleSeconds)"
      : `${unmet.why}; otherwise ${maxIdleSeconds} are allowed (maxIdleSeconds)`;
  return new StowageError("TIMED_OUT", `Cannot read on: the client sent nothing for ${seconds} seconds, ${why}`, {
    detail: { limit: "maxIdleSeconds", found: seconds, expected: maxIdleSeconds },
  });
}
