/**
 * Logs finished requests: failures, refusals, requests whose clients went away, and pulls if the settings say so. Routes log
 * loads and deletions themselves.
 */
import type { Context, MiddlewareHandler } from "hono";
import { messageOf, printable, StowageError } from "../errors.ts";
import { callerNameIfKnown } from "./authentication.ts";
import { errorResponse } from "./error-response.ts";
import { FloodGate } from "./log.ts";
import type { Service } from "./service.ts";

/** A request that is over. */
interface FinishedRequest {
  /** A token's name, `nobody`, `anyone`, or `unknown` for a wrong token. */
  readonly caller: string;
  readonly method: string;
  /** The path as it was sent. A decoded path could put line ends into the log. */
  readonly path: string;
  /** 499 if the client went away before the answer, as in nginx's logs. */
  readonly status: number;
  readonly error: Error | undefined;
}

type Kind = "failed" | "refused" | "gone" | "pulled";

const goneStatus = 499;

/** Characters of a line. An unforeseen error is logged with its stack. */
const maxLineLength = 1000;
const maxStackLength = 4000;
const maxPathLength = 300;

/** Runs before `authenticate`, so that refusals of `authenticate` are logged too. */
export function reportRequests({ log, signal }: Service, logPulls: boolean): MiddlewareHandler {
  const flood = new FloodGate(log);
  const report = (request: FinishedRequest): void => {
    const kind = kindOf(request);
    if (kind === "pulled" && logPulls) log(lineOf(request));
    if (kind === undefined || kind === "pulled") return;
    flood.write(`requests of ${request.caller} were ${words[kind]}`, lineOf(request));
  };
  return async (c, next) => {
    try {
      await next();
    } catch (error) {
      // Hono handles errors itself. Node's server aborts a request with a text as the reason, which Hono throws on.
      if (!c.req.raw.signal.aborted) throw error;
      report({ ...describeRequest(c), status: goneStatus, error: undefined });
      c.res = errorResponse(new StowageError("INTERRUPTED", "Cannot answer: the client went away"));
      return;
    }
    const status = isGone(c, signal) ? goneStatus : c.res.status;
    report({ ...describeRequest(c), status, error: c.error });
  };
}

function describeRequest(c: Context): Omit<FinishedRequest, "status" | "error"> {
  const path = new URL(c.req.url).pathname;
  return { caller: callerNameIfKnown(c) ?? "unknown", method: c.req.method, path };
}

/** Did the client go away before its answer? False if the service is stopping, which ends requests too. */
function isGone(c: Context, stopping: AbortSignal | undefined): boolean {
  if (c.error === undefined || stopping?.aborted === true) return false;
  const isInterrupted = c.error instanceof StowageError && c.error.code === "INTERRUPTED";
  return isInterrupted || c.req.raw.signal.aborted;
}

function kindOf({ method, path, status }: FinishedRequest): Kind | undefined {
  if (status === goneStatus) return "gone";
  if (status >= 500) return "failed";
  const isRead = method === "GET" || method === "HEAD";
  // Clients send `GET /v2/` to learn whether they need a token: its 401 is no refusal.
  const isRefusal = isRead ? status === 401 || status === 403 : status >= 400;
  if (isRefusal && !(isRead && /\/v2\/?$/.test(path))) return "refused";
  return isRead && /\/v2\/./.test(path) ? "pulled" : undefined;
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
