/** Asks again where the answer says that it may go better next time: networks and services have bad moments. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, NoAnswer } from "./exchange.ts";

const maxTries = 5;
/** The first wait; each further one is twice as long. */
const firstWaitMs = 500;

export interface TryAgainOptions {
  readonly signal: AbortSignal;
  /** May another try be answered otherwise? */
  readonly isWorthIt?: (answer: Answer) => boolean;
}

/** Returns the first answer that is final, or the last one; throws if there was none at last. */
export async function tryAgain(
  ask: () => Promise<Answer>,
  { signal, isWorthIt = isPassing }: TryAgainOptions,
): Promise<Answer> {
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await ask();
      if (tries === maxTries || !isWorthIt(answer)) return answer;
    } catch (error) {
      if (tries === maxTries || !(error instanceof NoAnswer)) throw error;
    }
    await pause(firstWaitMs * 2 ** (tries - 1), signal);
  }
}

/** Timeout, too many requests, or trouble inside of the server. */
export function isPassing({ status }: Answer): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/** Between half of the time and all of it, so that those who failed together do not come back together. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}
