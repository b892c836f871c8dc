/**
 * What is known about a request while it runs, for its line in the log: its id, its trace, its route and its figures.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { Context } from "hono";
import type { WatchedSource } from "../streams/watched-source.ts";

/** The context's variable that holds the record. The prefix avoids a clash with variables of an app around this one. */
const recordKey = "stowage.request";

/** A context with the variable. JSR takes no package that adds to the types of another one. */
type RecordContext = Context<{ Variables: Partial<Record<typeof recordKey, RequestRecord>> }>;

export class RequestRecord {
  readonly id: string;
  readonly trace: Trace | undefined;
  readonly startedMs: number = performance.now();
  /** The pattern of the route. */
  route: string | undefined;
  repository: string | undefined;
  /**
   * The caller that the body counts for. On a URL that is its own permission, this is the caller who began the upload.
   */
  owner: string | undefined;
  /** The request's body, once it is read. */
  body: WatchedSource | undefined;
  /** Requests to the store. */
  storeRequests = 0;
  /** Bytes of a streamed answer that were handed over. */
  bytesOut = 0;
  /** Why a streamed answer has ended early. */
  failure: Error | undefined;
  /** Resolves at the end of a streamed answer. Undefined while no answer is streamed. */
  streamEnd: Promise<void> | undefined;
  /** Were all bytes of a streamed answer handed over? */
  isStreamWhole = false;

  constructor(c: Context) {
    const id = c.req.header("X-Request-Id");
    this.id = id !== undefined && isRequestId(id) ? id : randomUUID();
    this.trace = parseTrace(c.req.header("traceparent"));
    (c as RecordContext).set(recordKey, this);
  }

  /** Undefined if the app has no such path. */
  static of(c: Context): RequestRecord | undefined {
    return (c as RecordContext).get(recordKey);
  }
}

/** The id goes to the log, to a header and to a terminal. So an id with other characters is replaced. */
function isRequestId(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._:/+=@~-]{0,127}$/.test(text);
}

/** A trace that the client has begun (W3C Trace Context). */
export interface Trace {
  readonly traceId: string;
  /** The `traceparent` of requests to the store: the service is their parent. */
  readonly traceparent: string;
}

/** Undefined for a malformed header, as the specification demands. */
function parseTrace(header: string | undefined): Trace | undefined {
  if (header === undefined) return undefined;
  const [, version, traceId, parentId, flags] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(header) ?? [];
  const isZero = (hex: string): boolean => /^0+$/.test(hex);
  if (traceId === undefined || parentId === undefined || isZero(traceId) || isZero(parentId)) return undefined;
  if (version === "ff" || (version === "00" && header.length > 55)) return undefined;
  return { traceId, traceparent: `00-${traceId}-${randomBytes(8).toString("hex")}-${flags}` };
}
