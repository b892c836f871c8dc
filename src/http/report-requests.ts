/**
 * The one place where a finished request is reported: failures, refusals, clients that went away before the answer and, if
 * the settings say so, pulls. The routes themselves report loads and deletions.
 */
import type { Context, MiddlewareHandler } from "hono";
import { messageOf, printable, StowageError } from "../errors.ts";
import { callerNameIfKnown } from "./authentication.ts";
import { errorResponse } from "./error-response.ts";
import type { Service } from "./service.ts";

/** A request that is over. */
interface FinishedRequest {
  /** A token's name, `nobody`, `anyone`, or `unknown` for a token that there is not. */
  readonly caller: string;
  readonly method: string;
  /** As it was sent: decoded it could bring line ends into the log. */
  readonly path: string;
  /** 499 if the client went away before the answer, as in nginx's logs. */
  readonly status: number;
  readonly error: Error | undefined;
}

type Kind = "failed" | "refused" | "gone" | "pulled";

const goneStatus = 499;

/** Characters of a line. Of an error that nobody foresaw the stack is wanted. */
const maxLineLength = 1000;
const maxStackLength = 4000;
const maxPathLength = 300;

export interface ReportOptions extends Pick<Service, "log" | "signal"> {
  /** Are pulls reported? */
  readonly logPulls: boolean;
}

/** Runs before `authenticate`, so that its refusals are reported too. */
export function reportRequests(options: ReportOptions): MiddlewareHandler {
  const flood = new FloodGate(options.log);
  const report = (request: FinishedRequest): void => {
    const kind = kindOf(request, options);
    if (kind === "pulled") options.log(lineOf(request));
    else if (kind !== undefined) flood.write(`requests of ${request.caller} were ${words[kind]}`, lineOf(request));
  };
  return async (c, next) => {
    try {
      await next();
    } catch (error) {
      // Node's server ends a request with a text as the reason, not with an error: Hono passes that on.
      if (!c.req.raw.signal.aborted) throw error;
      report({ ...describeRequest(c), status: goneStatus, error: undefined });
      c.res = errorResponse(new StowageError("INTERRUPTED", "Cannot answer: the client went away"));
      return;
    }
    const status = isGone(c, options) ? goneStatus : c.res.status;
    report({ ...describeRequest(c), status, error: c.error });
  };
}

function describeRequest(c: Context): Omit<FinishedRequest, "status" | "error"> {
  const path = new URL(c.req.url).pathname;
  return { caller: callerNameIfKnown(c) ?? "unknown", method: c.req.method, path };
}

/** Did the client go away in the middle of its body, or before its answer? A service that stops has its own reasons. */
function isGone(c: Context, { signal }: ReportOptions): boolean {
  if (c.error === undefined || signal?.aborted === true) return false;
  const isInterrupted = c.error instanceof StowageError && c.error.code === "INTERRUPTED";
  return isInterrupted || c.req.raw.signal.aborted;
}

function kindOf({ method, path, status }: FinishedRequest, { logPulls }: ReportOptions): Kind | undefined {
  if (status === goneStatus) return "gone";
  if (status >= 500) return "failed";
  const isRead = method === "GET" || method === "HEAD";
  // `GET /v2/` is how clients ask whether they have to show a token.
  const isRefusal = isRead ? status === 401 || status === 403 : status >= 400;
  if (isRefusal && !(isRead && /\/v2\/?$/.test(path))) return "refused";
  return logPulls && isRead && /\/v2\/./.test(path) ? "pulled" : undefined;
}

/** `ci PUT /v1/load/team/app 403 DENIED: Cannot load into "team/app": …` */
function lineOf({ caller, method, path, status, error }: FinishedRequest): string {
  const request = `${caller} ${method} ${cut(path, maxPathLength)} ${status}`;
  if (status === goneStatus) return `${request}: the client went away`;
  if (error === undefined) return request;
  if (error instanceof StowageError) {
    return cut(`${request} ${error.code}: ${error.message}`.replaceAll("\n", " "), maxLineLength);
  }
  const frames = (error.stack ?? "").split("\n").filter((line) => /^ +at /.test(line));
  return cut([`${request}: ${error.name}: ${messageOf(error)}`, ...frames].map(printable).join("\n"), maxStackLength);
}

function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}

const words: Readonly<Record<Exclude<Kind, "pulled">, string>> = {
  failed: "answered with an error of the service",
  refused: "refused",
  gone: "left by their clients",
};

// Keeps a flood of requests from flooding the log.

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
