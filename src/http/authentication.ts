/** Who asks, and whether they may: the one place where routes and tokens meet (RFC 6750 Bearer, RFC 7617 Basic). */
import type { Context, MiddlewareHandler } from "hono";
import type { Access, Action } from "../auth/access.ts";

/** Finds out who asks, before any route. */
export function authenticate(_access: Access): MiddlewareHandler {
  return async (_c, next) => next();
}

/**
 * Throws unless whoever asks may do this with the repository, or, without one, with any at all: `UNAUTHORIZED` where
 * nobody has said who they are, `DENIED` where they have.
 */
export function authorize(_c: Context, _action: Action, _repository?: string): void {}

/** May whoever asks do this with the repository? */
export function mayReach(_c: Context, _action: Action, _repository: string): boolean {
  return true;
}
