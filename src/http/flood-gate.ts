/** Keeps a flood of requests from flooding the log. */

/** Lines of one kind within a minute. */
const maxLinesPerMinute = 120;
const minuteMs = 60_000;

interface Minute {
  readonly startedMs: number;
  lines: number;
}

/** Writes no more than 120 lines of a kind within a minute, and then how many there were. */
export class FloodGate {
  readonly #log: (line: string) => void;
  readonly #minutes = new Map<string, Minute>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /**
   * `kind` is for the log, and of few different ones: `requests of ci were refused`. Each caller has kinds of its own. So no
   * caller's flood hides what another does.
   */
  write(kind: string, line: string): void {
    const now = performance.now(); // no clock that somebody can set
    let minute = this.#minutes.get(kind);
    if (minute === undefined || now - minute.startedMs >= minuteMs) {
      const untold = (minute?.lines ?? 0) - maxLinesPerMinute;
      if (untold > 0) this.#log(`${untold} more ${kind} since then`);
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
}
