/** Work and timers with a time limit. */
import { setMaxListeners } from "node:events";

/**
 * Does work with a signal. The signal fires with the error `late` when the time is over, or when the given signal
 * fires. The work must then clean up and throw.
 */
export async function withinSeconds<T>(
  {
    seconds,
    late,
    signal,
  }: { readonly seconds: number; readonly late: () => Error; readonly signal?: AbortSignal | undefined },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const timer = startTimer(seconds, () => over.abort(late()));
  const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  setMaxListeners(0, either); // each question to the store that waits for its turn listens to it
  try {
    return await work(either);
  } finally {
    timer.stop();
  }
}

/** The longest time of a timer on all platforms, about 24 days. A longer time is treated as endless. */
const maxTimerMs = 2 ** 31 - 1;

export interface Timer {
  stop(): void;
}

/**
 * Calls `onTime` once after this number of seconds, if it is not stopped before. The timer does not keep the process
 * running.
 */
export function startTimer(seconds: number, onTime: () => void): Timer {
  const ms = seconds * 1000;
  if (ms > maxTimerMs) return { stop: () => undefined };
  const timer: ReturnType<typeof setTimeout> | number = setTimeout(onTime, ms);
  if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
  return { stop: () => clearTimeout(timer) };
}
