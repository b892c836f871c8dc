/** A timer that keeps no process running and that any length of time can be given to. */

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
