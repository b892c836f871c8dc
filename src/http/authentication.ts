/** Who asks, and whether they may: the one place where routes and tokens meet (RFC 6750 Bearer, RFC 7617 Basic). */
import type { Context, MiddlewareHandler } from "hono";
import { type Access, type Action, permits } from "../auth/access.ts";
import { type Caller, findCaller } from "../auth/find-caller.ts";
import { StowageError } from "../errors.ts";

/** The context's variable that holds the caller. Its name is Stowage's own: the app may be mounted in another app. */
const callerKey = "stowage.caller";

declare module "hono" {
  interface ContextVariableMap {
    [callerKey]: Caller;
  }
}

/** Finds out who asks, before any route. Throws `UNAUTHORIZED` for a token that is unknown, wherever it is shown. */
export function authenticate(access: Access): MiddlewareHandler {
  return async (c, next) => {
    const caller = findCaller(access, access === "anyone" ? undefined : readSecret(c.req.header("Authorization")));
    if (caller === undefined) throw new StowageError("UNAUTHORIZED", "Cannot tell who asks: there is no such token");
    c.set(callerKey, caller);
    await next();
  };
}

/** Throws `UNAUTHORIZED` if the caller has shown no token and may do this with no repository: before a name is read. */
export function requireToken(c: Context, action: Action): void {
  const caller = callerOf(c);
  if (!caller.isKnown && !permits(caller, action)) throw withoutToken(`Cannot ${action} without a token`);
}

/**
 * Throws unless whoever asks may do this with the repository, or, without one, with any at all: `UNAUTHORIZED` where
 * nobody has said who they are, `DENIED` where they have.
 */
export function authorize(c: Context, action: Action, repository?: string): void {
  const caller = callerOf(c);
  if (permits(caller, action, repository)) return;
  const what = repository === undefined ? `Cannot ${action}` : `Cannot ${phrases[action]} "${repository}"`;
  if (!caller.isKnown) throw withoutToken(`${what} without a token`);
  const detail = { action, ...(repository !== undefined && { name: repository }) };
  throw new StowageError("DENIED", `${what}: the token "${caller.name}" does not allow it`, { detail });
}

/** Throws `UNAUTHORIZED` where nobody has said who they are and then may do nothing: so clients try out a password. */
export function authorizeAnything(c: Context): void {
  const { isKnown, actions } = callerOf(c);
  if (!isKnown && actions.length === 0) throw withoutToken("Cannot let anybody in without a token");
}

/** May whoever asks do this with the repository? */
export function mayReach(c: Context, action: Action, repository: string): boolean {
  return permits(callerOf(c), action, repository);
}

/** Has the caller shown no token, though others have one? Nothing of the inside of the service is for such a caller. */
export function isAnonymous(c: Context): boolean {
  const caller: Caller | undefined = c.get(callerKey);
  return caller === undefined || (!caller.isKnown && !permits(caller, "load"));
}

/** The name of whoever asks: a token's, `nobody`, or `anyone` where nobody is asked. It is no secret. */
export function callerName(c: Context): string {
  return callerOf(c).name;
}

/** The caller and the signal of a request, for all work that it asks for. */
export function turnOf(c: Context): { readonly caller: string; readonly signal: AbortSignal } {
  return { caller: callerName(c), signal: c.req.raw.signal };
}

/** As `callerName`; undefined if `authenticate` has refused the request. */
export function callerNameIfKnown(c: Context): string | undefined {
  const caller: Caller | undefined = c.get(callerKey);
  return caller?.name;
}

/** The secret of `Authorization`; undefined for nobody, who to some clients is a user with an empty name and password. */
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

const phrases: Readonly<Record<Action, string>> = { pull: "pull from", load: "load into", delete: "delete from" };

/** A route that is reached without `authenticate` lets nobody in. */
function callerOf(c: Context): Caller {
  const caller: Caller | undefined = c.get(callerKey);
  if (caller === undefined) throw new TypeError("expected `authenticate` to run before this route");
  return caller;
}
