/** Work that has to be done within a time. */
import { startTimer } from "./start-timer.ts";

export interface WithinSecondsOptions {
  readonly seconds: number;
  /** What the work's signal fires with when the time is over. */
  readonly late: () => Error;
  /** Ends the work as well. */
  readonly signal?: AbortSignal | undefined;
}

/** Does the work with a signal that fires when the time is over. It is the work that then has to clean up and throw. */
export async function withinSeconds<T>(
  { seconds, late, signal }: WithinSecondsOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const timer = startTimer(seconds, () => over.abort(late()));
  try {
    return await work(signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]));
  } finally {
    timer.stop();
  }
}
