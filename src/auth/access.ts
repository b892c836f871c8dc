/** Who may do what with which repositories: the rules, without any of HTTP in them. */
import { matchesPattern } from "../oci/tag-pattern.ts";

/** What a token can allow. `load` brings images in; `delete` takes manifests and tags out. */
export type Action = "pull" | "load" | "delete";

export const actions: readonly Action[] = ["pull", "load", "delete"];

/** What somebody may do: each of the actions with each of the repositories. */
export interface Grant {
  readonly actions: readonly Action[];
  /** Patterns of repository names: `*` is any part of a name up to the next `/`, `**` any part at all. */
  readonly repositories: readonly string[];
}

/** A secret that whoever asks can show, and what it allows. */
export interface Token extends Grant {
  /** Names it in the log; it is no secret. */
  readonly name: string;
  /** SHA-256 of the secret, 64 lower-case hex digits: the settings need not keep the secret itself. */
  readonly sha256: string;
}

/** Who may do what, where not everybody may do everything. */
export interface AccessRules {
  readonly tokens: readonly Token[];
  /** Whoever shows no token at all may pull everything. */
  readonly anonymousPull: boolean;
}

/** `anyone`: nobody is asked. It has to be said in as many words. */
export type Access = AccessRules | "anyone";

// Does a grant cover what somebody asks for?

/** May whoever has the grant do this with the repository, or, without one, with any at all? */
export function permits(grant: Grant, action: Action, repository?: string): boolean {
  if (!grant.actions.includes(action)) return false;
  return repository === undefined || grant.repositories.some((pattern) => matchesPattern(pattern, repository));
}

// Says who may do what, for the line with which a service starts.

/** How many tokens are named at most. */
const maxNamed = 5;

/** `anyone may pull, load and delete`, or `ci may load in team/**; cluster may pull; nobody else may do anything`. */
export function describeAccess(access: Access): string {
  if (access === "anyone") return `anyone may ${listed(actions)}`;
  const { tokens, anonymousPull } = access;
  const named = tokens.slice(0, maxNamed).map((token) => `${token.name} may ${describeGrant(token)}`);
  const more = tokens.length - named.length;
  if (more > 0) named.push(`${more} more tokens`);
  const others = tokens.length === 0 ? "everybody" : "everybody else";
  const nobody = tokens.length === 0 ? "nobody" : "nobody else";
  return [...named, anonymousPull ? `${others} may pull` : `${nobody} may do anything`].join("; ");
}

function describeGrant({ actions: allowed, repositories }: Grant): string {
  const isEverywhere = repositories.includes("**");
  return `${listed(allowed)}${isEverywhere ? "" : ` in ${listed(repositories)}`}`;
}

function listed(words: readonly string[]): string {
  const last = words.at(-1) ?? "nothing";
  return words.length < 2 ? last : `${words.slice(0, -1).join(", ")} and ${last}`;
}
