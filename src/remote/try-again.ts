/** Asks a server again, if another try can get a better answer. */
import type { Clock } from "../clock.ts";
import { NoAnswer } from "./open-answer.ts";

/** Tries of one request. */
export const maxTries = 5;
/** The first wait between two tries. Each further wait is twice as long. */
const firstWaitMs = 500;
/** A server that asks for a longer wait is not asked again. */
const maxRetryAfterSeconds = 120;

export interface TryAgainOptions<T> {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Would another try fail in the same way? */
  readonly isHopeless: (error: NoAnswer) => boolean;
  /** Can another try get a better answer? By default the status says it. */
  readonly isWorthIt?: ((answer: T) => boolean) | undefined;
}

/**
 * Asks up to `maxTries` times, while another try may get a better answer. Waits as the server says (`Retry-After`), or
 * longer each time. Returns the first final answer, or else the last answer. Throws `NoAnswer` if the last try gets
 * none.
 */
export async function tryAgain<T extends { readonly status: number; readonly headers: Headers }>(
  ask: () => Promise<T>,
  { clock, signal, isHopeless, isWorthIt = isTransient }: TryAgainOptions<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    let seconds: number | undefined;
    try {
      const answer = await ask();
      if (tries === maxTries || !isWorthIt(answer)) return answer;
      seconds = retryAfterSeconds(answer.headers, clock.now());
      if (seconds !== undefined && seconds > maxRetryAfterSeconds) return answer;
    } catch (error) {
      if (tries === maxTries || !(error instanceof NoAnswer) || isHopeless(error)) throw error;
    }
    await (seconds === undefined ? pause(tries, { clock, signal }) : clock.sleep(seconds * 1000, signal));
  }
}

/** Waits for 50 % to 100 % of the time. Clients that failed together then do not come back together. */
export async function pause(
  tries: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  await clock.sleep(firstWaitMs * 2 ** (tries - 1) * (0.5 + clock.random() / 2), signal);
}

function isTransient({ status }: { readonly status: number }): boolean {
  return [408, 429, 500, 502, 503, 504].includes(status);
}

/** Seconds, or a date (RFC 9110, section 10.2.3). Undefined if there is none, or if it makes no sense. */
export function retryAfterSeconds(headers: Headers, nowMs: number): number | undefined {
  const text = headers.get("Retry-After") ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const dateMs = Date.parse(text);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, Math.ceil((dateMs - nowMs) / 1000));
}
