/**
 * What happens in the service, as typed events. The log (`http/log.ts`) and the metrics (`runtimes/metrics.ts`) read
 * them.
 */
import type { ErrorCode } from "./errors.ts";

/** Takes an event, at the moment at which it happens. It must not throw. */
export type Report = (event: StowageEvent) => void;

/** Anything that happens in the service. `event` says what it is. */
export type StowageEvent =
  | RequestEvent
  | LoadEvent
  | PushEvent
  | DeleteEvent
  | CopyEvent
  | GcEvent
  | UnreadEvent
  | FloodEvent
  | StartEvent
  | NoticeEvent;

/** A request of the app is over, and its answer is sent or broken off. */
export interface RequestEvent {
  readonly event: "request";
  /** The `X-Request-Id`: the client's, or a new one. */
  readonly id: string;
  /** The trace of the client's `traceparent` (W3C Trace Context). */
  readonly traceId: string | undefined;
  /** A token's name, `<issuer>#<subject>` for OIDC, `nobody`, `anyone`, or `unknown` for a wrong token. */
  readonly caller: string;
  readonly method: string;
  /** The pattern of the route, such as `/v2/<name>/blobs/<digest>`. Undefined if the request has found none. */
  readonly route: string | undefined;
  /** The path as it was sent, without the query, which can have a secret. It is cut if it is long. */
  readonly path: string;
  readonly repository: string | undefined;
  /** The address at the other end of the connection: of a proxy, if there is one before the service. */
  readonly client: string | undefined;
  /** The `X-Forwarded-For` of a proxy. A client can write anything into it. It is cut if it is long. */
  readonly forwardedFor: string | undefined;
  /** The client's `User-Agent`. It is cut if it is long. */
  readonly userAgent: string | undefined;
  /** 499 if the client went away before the answer, as in nginx's logs. */
  readonly status: number;
  readonly outcome: RequestOutcome;
  /** The code of the error, if there was one. `UNKNOWN` for an error that nobody foresaw. */
  readonly code: ErrorCode | "UNKNOWN" | undefined;
  /** The error's message. */
  readonly message: string | undefined;
  /** The frames of an error that nobody foresaw. */
  readonly stack: readonly string[] | undefined;
  /** Bytes of the request's body that were read. */
  readonly bytesIn: number;
  /** Bytes of the answer's body that were sent. */
  readonly bytesOut: number;
  readonly ms: number;
  /** Requests to the store, as `RequestCounts` counts them. Undefined if nobody counts them. */
  readonly storeRequests: number | undefined;
}

/**
 * - `refused`: the client has to change something.
 * - `failed`: the service or its store failed.
 * - `gone`: the client broke off.
 * - `asked`: a client that looks whether it needs a token, and is told so.
 */
export type RequestOutcome = "ok" | "refused" | "failed" | "gone" | "asked";

/** A load has published its images. */
export interface LoadEvent {
  readonly event: "load";
  /** That of the request. Undefined for a tarball in the bucket. */
  readonly id: string | undefined;
  readonly caller: string | undefined;
  /** The key of a tarball that an event of the bucket named. */
  readonly key: string | undefined;
  /** The first ten images. */
  readonly images: readonly NamedImage[];
  readonly imageCount: number;
  /** Bytes of the body, and bytes of blobs by their outcome. */
  readonly bytes: Readonly<Record<"received" | "written" | "present" | "repaired", number>>;
}

export interface NamedImage {
  readonly repository: string;
  readonly reference: string;
  readonly digest: string;
  /** `created`, `updated`, … */
  readonly status: string;
}

/** A manifest was pushed. */
export interface PushEvent {
  readonly event: "push";
  readonly id: string | undefined;
  readonly caller: string;
  readonly repository: string;
  readonly reference: string;
  readonly digest: string;
}

/** A tag, or a manifest with all its tags, was deleted. */
export interface DeleteEvent extends Omit<PushEvent, "event"> {
  readonly event: "delete";
}

/** Images were copied to the targets of the settings, or could not be. */
export interface CopyEvent {
  readonly event: "copy";
  readonly id: string | undefined;
  readonly caller: string | undefined;
  readonly targets: readonly CopiedTarget[];
}

export interface CopiedTarget {
  readonly target: string;
  /** Images that are in the target now. */
  readonly images: number;
  /** Bytes that were copied. Undefined if the target could not be looked at. */
  readonly bytes: number | undefined;
  /** The codes of the images that could not be copied. */
  readonly failures: readonly ErrorCode[];
}

/** A run of gc, or a slice of one, is over. */
export interface GcEvent {
  readonly event: "gc";
  readonly state: "finished" | "unfinished";
  /** Images that a rule of retention has dropped. */
  readonly dropped: number;
  /** By what became of them: `condemned`, `freed`, … */
  readonly amounts: Readonly<Record<string, { readonly blobs: number; readonly bytes: number }>>;
  readonly problems: readonly string[];
}

/** A request was refused before the app saw it, or a connection was closed. */
export interface UnreadEvent {
  readonly event: "unread";
  /** The address at the other end of the connection. */
  readonly client?: string | undefined;
  readonly status: number | undefined;
  readonly code: ErrorCode | undefined;
  readonly message: string;
}

/** Too many events of one kind came. The log shows no more of them for a while, or did not show some. */
export interface FloodEvent {
  readonly event: "flood";
  /** Such as `requests of ci were refused`. */
  readonly kind: string;
  readonly count: number;
  readonly isOver: boolean;
}

export interface StartEvent {
  readonly event: "start";
  readonly url: string;
  readonly store: string;
  /** Who may do what. */
  readonly access: string;
}

/** Anything else that the people who run the service should know. */
export interface NoticeEvent {
  readonly event: "notice" | "warning";
  readonly level: Level;
  readonly message: string;
}

export type Level = "info" | "warn" | "error";

export function notice(level: Level, message: string): NoticeEvent {
  return { event: "notice", level, message };
}

/** A setting, or a token, that is most likely a mistake. */
export function warning(message: string): NoticeEvent {
  return { event: "warning", level: "warn", message };
}
