/** Reports each request when its answer has ended, and gives each answer its `X-Request-Id`. */
import type { Context, MiddlewareHandler } from "hono";
import { messageOf, printable, StowageError } from "../errors.ts";
import type { Report, RequestEvent, RequestOutcome } from "../events.ts";
import { callerNameIfKnown } from "./authentication.ts";
import { errorResponse } from "./error-response.ts";
import { pathOf } from "./request-url.ts";
import { RequestRecord } from "./request-record.ts";

/** The end of an answer. */
export interface SentAnswer {
  /** Bytes of its body. */
  readonly bytes: number;
  /** Was it sent to its end? */
  readonly isWhole: boolean;
}

/** An `AsyncLocalStorage`. */
export interface RunningRequests {
  run<T>(record: RequestRecord, work: () => T): T;
}

export interface ReportOptions {
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
  /** Where requests to the store find the request that they belong to. */
  readonly running?: RunningRequests | undefined;
  /** The address of the connection's other end. */
  readonly clientOf?: ((c: Context) => string | undefined) | undefined;
  readonly watchAnswer?: ((c: Context, onEnd: (sent: SentAnswer) => void) => void) | undefined;
}

const goneStatus = 499;
/** Characters of a header in an event. */
const maxHeaderLength = 200;

/** Runs before `authenticate`, so that refusals of `authenticate` are reported too. */
export function reportRequests({ report, signal, running, clientOf, watchAnswer }: ReportOptions): MiddlewareHandler {
  return async (c, next) => {
    const record = new RequestRecord(c);
    const client = clientOf?.(c); // a connection that has closed has no address
    // The answer may end before its handler: a client leaves, and the load goes on.
    let sent: SentAnswer | undefined;
    let isHandled = false;
    const onEnd = (answer: SentAnswer): void => {
      sent = answer;
      if (isHandled) report(eventOf(c, record, answer, { client, signal, isCounted: running !== undefined }));
    };
    watchAnswer?.(c, onEnd);
    try {
      await (running === undefined ? next() : running.run(record, next));
    } catch (error) {
      // Hono turns errors into answers itself, except one: when a client leaves, Node's server aborts the request with
      // a text as the reason, and Hono throws it.
      if (!c.req.raw.signal.aborted) throw error;
      c.error = new StowageError("INTERRUPTED", "Cannot answer: the client went away");
      c.res = errorResponse(c.error, { c });
    }
    c.res.headers.set("X-Request-Id", record.id);
    isHandled = true;
    if (sent !== undefined) onEnd(sent);
    else if (watchAnswer === undefined && record.streamEnd === undefined) onEnd({ bytes: bytesOf(c), isWhole: true });
    else if (watchAnswer === undefined) {
      void record.streamEnd?.then(() => onEnd({ bytes: record.bytesOut, isWhole: record.isStreamWhole }));
    }
  };
}

/** The length of an answer that is not streamed. */
function bytesOf(c: Context): number {
  return c.req.method === "HEAD" ? 0 : Number(c.res.headers.get("Content-Length") ?? 0);
}

interface Circumstances {
  readonly client: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly isCounted: boolean;
}

function eventOf(
  c: Context,
  record: RequestRecord,
  { bytes, isWhole }: SentAnswer,
  { client, signal, isCounted }: Circumstances,
): RequestEvent {
  const error = c.error ?? record.failure;
  const isGone = c.error === undefined ? !isWhole && record.failure === undefined : hasLeft(c, c.error, signal);
  const status = isGone && c.error !== undefined ? goneStatus : c.res.status;
  const { id, trace, route, repository, owner, body, startedMs, storeRequests } = record;
  return {
    event: "request",
    id,
    traceId: trace?.traceId,
    caller: owner ?? callerNameIfKnown(c) ?? "unknown",
    method: c.req.method,
    route,
    path: pathOf(c),
    repository,
    client,
    forwardedFor: c.req.header("X-Forwarded-For")?.slice(0, maxHeaderLength),
    userAgent: c.req.header("User-Agent")?.slice(0, maxHeaderLength),
    status,
    outcome: isGone ? "gone" : outcomeOf(c, status, record.failure),
    code: isGone || error === undefined ? undefined : error instanceof StowageError ? error.code : "UNKNOWN",
    ...(isGone ? withoutError : describeError(error)),
    bytesIn: body?.bytes ?? 0,
    bytesOut: bytes,
    ms: Math.round((performance.now() - startedMs) * 10) / 10,
    storeRequests: isCounted ? storeRequests : undefined,
  };
}

/** Did the client go away before its answer? False if the service is stopping, which ends requests too. */
function hasLeft(c: Context, error: Error, stopping: AbortSignal | undefined): boolean {
  if (stopping?.aborted === true) return false;
  return (error instanceof StowageError && error.code === "INTERRUPTED") || c.req.raw.signal.aborted;
}

function outcomeOf({ req: { method, path } }: Context, status: number, failure: Error | undefined): RequestOutcome {
  if (failure instanceof StowageError && failure.code === "TIMED_OUT") return "refused"; // a slow reader was cut off
  if (status >= 500 || failure !== undefined) return "failed";
  const isRead = method === "GET" || method === "HEAD";
  if (isRead && status === 401 && /\/v2\/?$/.test(path)) return "asked";
  // Clients ask for what may not be there: a 404 is an ordinary answer.
  return status >= 400 && !(isRead && status === 404) ? "refused" : "ok";
}

const withoutError = { message: undefined, stack: undefined };

function describeError(error: Error | undefined): Pick<RequestEvent, "message" | "stack"> {
  if (error === undefined) return withoutError;
  if (error instanceof StowageError) return { message: error.message, stack: undefined };
  const stack = (error.stack ?? "").split("\n").filter((line) => /^ +at /.test(line));
  return { message: printable(`${error.name}: ${messageOf(error)}`), stack };
}
