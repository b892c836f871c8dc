/** The log of the service, and its protection against floods. */

/** Writes a line for the people who run the service. */
export type Log = (line: string) => void;

/** Lines of one kind within a minute. */
const maxLinesPerMinute = 120;
const minuteMs = 60_000;
/** Kinds that are held in memory, unless there are more within a minute. */
const maxKinds = 1000;

interface Minute {
  readonly startedMs: number;
  lines: number;
}

/** Protects the log from a flood of requests. Lines above the limit are counted, and their number is logged later. */
export class FloodGate {
  readonly #log: Log;
  readonly #minutes = new Map<string, Minute>();

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * `kind` is part of the log, such as `requests of ci were refused`. Each kind is held in memory for a minute at least. Each
   * caller has its own kinds, so that a flood of one caller does not hide the requests of another.
   */
  write(kind: string, line: string): void {
    const now = performance.now(); // nobody can set this clock
    let minute = this.#minutes.get(kind);
    if (minute === undefined || now - minute.startedMs >= minuteMs) {
      if (minute !== undefined) this.#end(kind, minute);
      else if (this.#minutes.size >= maxKinds) this.#endAll(now);
      minute = { startedMs: now, lines: 0 };
      this.#minutes.set(kind, minute);
    }
    minute.lines += 1;
    if (minute.lines > maxLinesPerMinute) return;
    this.#log(line);
    if (minute.lines === maxLinesPerMinute) {
      this.#log(`${maxLinesPerMinute} ${kind} within a minute: more are counted, not shown`);
    }
  }

  #end(kind: string, { lines }: Minute): void {
    const untold = lines - maxLinesPerMinute;
    if (untold > 0) this.#log(`${untold} more ${kind} since then`);
    this.#minutes.delete(kind);
  }

  #endAll(now: number): void {
    for (const [kind, minute] of this.#minutes) if (now - minute.startedMs >= minuteMs) this.#end(kind, minute);
  }
}
