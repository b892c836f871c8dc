/** Finds the sender of a request, and checks its rights (RFC 6750 Bearer, RFC 7617 Basic). */
import { setMaxListeners } from "node:events";
import type { Context, MiddlewareHandler } from "hono";
import {
  type AccessSource,
  type Action,
  type Caller,
  anyone,
  findTokenCaller,
  nobody,
  permits,
  verbOf,
} from "../auth/access.ts";
import type { Clock } from "../clock.ts";
import { StowageError } from "../errors.ts";
import type { Report } from "../events.ts";
import { OidcCallers, isSignedToken } from "../oidc/oidc-callers.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import { readSessionSecret } from "./session-cookie.ts";

/** The context's variable that holds the caller. The prefix avoids a clash with variables of an app around this one. */
const callerKey = "stowage.caller";

declare module "hono" {
  interface ContextVariableMap {
    [callerKey]: Caller;
  }
}

/**
 * Finds the caller with the secret of a token. Undefined stands for a request without a token. Throws `UNAUTHORIZED`.
 */
export type CallerFinder = (secret: string | undefined) => Promise<Caller>;

export function callerFinder(
  source: AccessSource,
  { clock, report }: { readonly clock: Clock; readonly report: Report },
): CallerFinder {
  const oidcCallers = new OidcCallers({ clock, report });
  return async (secret) => {
    const access = typeof source === "function" ? await source() : source;
    if (access === "anyone") return anyone;
    if (secret === undefined) return nobody(access);
    const { tokens, oidc = [] } = access;
    const caller = findTokenCaller(tokens, secret, clock.now());
    if (caller !== undefined) return caller;
    if (oidc.length > 0 && isSignedToken(secret)) return oidcCallers.find(oidc, secret);
    const hint = isSignedToken(secret) ? "; it is one of an OIDC issuer, and STOWAGE_OIDC names no issuer" : "";
    throw new StowageError("UNAUTHORIZED", `Cannot find the caller: there is no such token${hint}`);
  };
}

/**
 * Finds the caller before any route runs. Throws `UNAUTHORIZED` for an unknown token, also on routes that need none.
 * The token is checked once: a request goes on if its token expires meanwhile.
 */
export function authenticate(findCaller: CallerFinder): MiddlewareHandler {
  return async (c, next) => {
    c.set(callerKey, await findCaller(readSecret(c.req.header("Authorization"))));
    await next();
  };
}

/**
 * As `authenticate`, for the routes that a browser uses: the token may be in the page's cookie. A cookie with an
 * unknown token counts as none, because a person whose token has expired must reach the page to log in again.
 */
export function authenticateBrowser(findCaller: CallerFinder): MiddlewareHandler {
  return async (c, next) => {
    const authorization = c.req.header("Authorization");
    const cookie = authorization === undefined ? readSessionSecret(c) : undefined;
    try {
      c.set(callerKey, await findCaller(cookie ?? readSecret(authorization)));
    } catch (error) {
      if (cookie === undefined || !isUnauthorized(error)) throw error;
      c.set(callerKey, await findCaller(undefined));
    }
    await next();
    // Caches know that an answer to a request with `Authorization` is private, but not so with a cookie.
    if (cookie !== undefined && !c.res.headers.has("Cache-Control")) c.header("Cache-Control", "private");
  };
}

function isUnauthorized(error: unknown): boolean {
  return error instanceof StowageError && error.code === "UNAUTHORIZED";
}

/**
 * Throws `UNAUTHORIZED` if the caller has no token and may not do this with any repository. Runs before a name is read.
 */
export function refuseAnonymous(c: Context, action: Action): void {
  const { isKnown, grants } = callerOf(c);
  if (!isKnown && !permits(grants, action)) throw withoutToken(`Cannot ${verbOf(action)} without a token`);
}

/**
 * Throws if the caller may not do this with the repository. Without a repository: if the caller may do it with none.
 * The error is `UNAUTHORIZED` for a caller without a token, and `DENIED` for a known caller.
 */
export function authorize(c: Context, action: Action, repository?: string): void {
  const caller = callerOf(c);
  if (permits(caller.grants, action, repository)) return;
  const what = repository === undefined ? `Cannot ${verbOf(action)}` : `Cannot ${phrases[action]} "${repository}"`;
  if (!caller.isKnown) throw withoutToken(`${what} without a token`);
  const detail = { action, ...(repository !== undefined && { name: repository }) };
  throw new StowageError("DENIED", `${what}: the token "${caller.name}" does not allow it`, { detail });
}

/** Throws `UNAUTHORIZED` if a caller without a token may do nothing. Clients use this to test a password. */
export function authorizeAnything(c: Context): void {
  const { isKnown, grants } = callerOf(c);
  if (!isKnown && grants.length === 0) throw withoutToken("Cannot answer without a token");
}

export function isAllowed(c: Context, action: Action, repository: string | undefined): boolean {
  return permits(callerOf(c).grants, action, repository);
}

/** Is the caller without a token, on a service with tokens? Then error messages tell nothing about the store. */
export function isAnonymous(c: Context): boolean {
  const caller: Caller | undefined = c.get(callerKey);
  return caller === undefined || (!caller.isKnown && !permits(caller.grants, "load"));
}

/** Has the caller shown a token? */
export function hasToken(c: Context): boolean {
  return callerOf(c).isKnown;
}

/** A token's name, `nobody` without a token, or `anyone` on a service without tokens. It is no secret. */
export function callerName(c: Context): string {
  return callerOf(c).name;
}

/** The caller and the signal of a request, for all work of the request. */
export function requesterOf(c: Context): { readonly caller: string; readonly signal: AbortSignal } {
  const { signal } = c.req.raw;
  setMaxListeners(0, signal); // each question that waits for its turn listens to it
  return { caller: callerName(c), signal };
}

/** As `requesterOf`, for a wait in a line of at most ten seconds. */
export function waiterOf(c: Context): ReturnType<typeof requesterOf> & { readonly maxWaitMs: number } {
  return { ...requesterOf(c), maxWaitMs: maxTurnWaitMs };
}

/** As `callerName`. Undefined if `authenticate` has refused the request. */
export function callerNameIfKnown(c: Context): string | undefined {
  const caller: Caller | undefined = c.get(callerKey);
  return caller?.name;
}

/**
 * The secret in `Authorization`. Undefined without one: some clients then send an empty user with an empty password.
 */
function readSecret(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const [, scheme = "", credentials = ""] = /^(\w+) +(\S+)$/.exec(header) ?? [];
  if (scheme.toLowerCase() === "bearer") return credentials;
  const [, user = "", password] = /^([^:]*):(.*)$/s.exec(Buffer.from(credentials, "base64").toString()) ?? [];
  if (scheme.toLowerCase() !== "basic" || password === undefined) {
    throw withoutToken("Cannot find a token in the Authorization header");
  }
  return user === "" && password === "" ? undefined : password;
}

function withoutToken(problem: string): StowageError {
  return new StowageError("UNAUTHORIZED", `${problem}: expected one as Bearer, or as the password of any user`);
}

const phrases: Readonly<Record<Action, string>> = {
  pull: "pull from",
  load: "load into",
  copy: "copy from",
  delete: "delete from",
  metrics: "read the metrics of",
};

/** Throws on a route that is reached without `authenticate`: it must not let callers in. */
function callerOf(c: Context): Caller {
  const caller: Caller | undefined = c.get(callerKey);
  if (caller === undefined) throw new TypeError("expected `authenticate` to run before this route");
  return caller;
}
