/** Waits for a promise, but no longer than so many milliseconds: returns whether it was kept in time. */
export async function inTime(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

// Work that has to be done within a time.

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

// A timer that keeps no process running and that any length of time can be given to.

/** What timers of all platforms can count to; more is some 24 days, and as good as never. */
const maxTimerMs = 2 ** 31 - 1;

export interface Timer {
  stop(): void;
}

/** Calls `onTime` once, after so many seconds, unless it is stopped before. */
export function startTimer(seconds: number, onTime: () => void): Timer {
  const ms = seconds * 1000;
  if (ms > maxTimerMs) return { stop: () => undefined };
  const timer: ReturnType<typeof setTimeout> | number = setTimeout(onTime, ms);
  if (typeof timer === "object" && "unref" in timer) timer.unref(); // a number on workerd
  return { stop: () => clearTimeout(timer) };
}
