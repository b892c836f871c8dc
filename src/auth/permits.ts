/** Does a grant cover what somebody asks for? */
import type { Action, Grant } from "./access.ts";
import { matchesPattern } from "../oci/match-pattern.ts";

/** May whoever has the grant do this with the repository, or, without one, with any at all? */
export function permits(grant: Grant, action: Action, repository?: string): boolean {
  if (!grant.actions.includes(action)) return false;
  return repository === undefined || grant.repositories.some((pattern) => matchesPattern(pattern, repository));
}
