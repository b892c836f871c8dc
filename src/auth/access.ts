/** The rules of access: callers, actions and repositories. They do not depend on HTTP. */
import { createHash, timingSafeEqual } from "node:crypto";
import { StowageError } from "../errors.ts";
import { matchesPattern } from "../oci/tag-pattern.ts";

/**
 * What a token can allow. `load` adds images. `copy` copies images to the targets of the settings. `delete` removes
 * manifests and tags. `metrics` reads the metrics of the whole service. The repositories of the token do not limit it.
 */
export type Action = "pull" | "load" | "copy" | "delete" | "metrics";

export const actions: readonly Action[] = ["pull", "load", "copy", "delete", "metrics"];

/** The action in a sentence: `may pull and read metrics`. */
export function verbOf(action: Action): string {
  return action === "metrics" ? "read metrics" : action;
}

/** Allows each of the actions with each of the repositories. */
export interface Grant {
  readonly actions: readonly Action[];
  /** Patterns of repository names. `*` stands for any part of a name up to the next `/`, `**` for any part. */
  readonly repositories: readonly string[];
}

/** A secret of a client, with the rights that it gives. */
export interface Token extends Grant {
  /** The name in the log. It is no secret. */
  readonly name: string;
  /** SHA-256 of the secret, 64 lower-case hex digits. The settings do not keep the secret itself. */
  readonly sha256: string;
  /** From then on the token is refused. Without it, the token does not expire. */
  readonly expires?: Date | undefined;
}

/** Gives its rights to each token that the issuer signed for the audience, if all claims fit (OpenID Connect). */
export interface OidcRule extends Grant {
  /** The URL of the issuer, exactly as in its tokens. */
  readonly issuer: string;
  /** The service's name for itself. A token has to name it: tokens for other services are refused. */
  readonly audience: string;
  /** A pattern for the value of each claim, as for repositories. A pattern without `*` has to be equal. */
  readonly claims: Readonly<Record<string, string>>;
  /** As for tokens. `${claim}` stands for the value of a claim, in lower case: `${repository}/**`. */
  readonly repositories: readonly string[];
}

/** The tokens of a service, and what needs none. */
export interface AccessRules {
  readonly tokens: readonly Token[];
  /** Clients without a token may pull everything. */
  readonly anonymousPull: boolean;
  /** Who may do what with a token of an OIDC issuer. */
  readonly oidc?: readonly OidcRule[] | undefined;
}

/** `anyone`: every client may do everything. */
export type Access = AccessRules | "anyone";

/** The rights of callers, or a function that returns them for each request. */
export type AccessSource = Access | (() => Promise<Access>);

/** The sender of a request, with its rights. */
export interface Caller {
  /** For the log: a token's name, `nobody` without a token, or `anyone` on a service without tokens. */
  readonly name: string;
  /** Has the caller shown a token? */
  readonly isKnown: boolean;
  /** The caller may do what any of them allows. */
  readonly grants: readonly Grant[];
}

/** Does a grant allow the action with the repository? Without a repository: with at least one repository? */
export function permits(grants: readonly Grant[], action: Action, repository?: string): boolean {
  return grants.some(
    (grant) =>
      grant.actions.includes(action) &&
      (repository === undefined || grant.repositories.some((pattern) => matchesPattern(pattern, repository))),
  );
}

export const anyone: Caller = { name: "anyone", isKnown: false, grants: [{ actions, repositories: ["**"] }] };

/** A caller without a token. */
export function nobody({ anonymousPull }: AccessRules): Caller {
  return { name: "nobody", isKnown: false, grants: anonymousPull ? [{ actions: ["pull"], repositories: ["**"] }] : [] };
}

/**
 * The caller with this secret of a token. Undefined if there is no such token. Throws `UNAUTHORIZED` if it has expired.
 */
export function findTokenCaller(tokens: readonly Token[], secret: string, nowMs: number): Caller | undefined {
  const token = findToken(tokens, secret);
  if (token === undefined) return undefined;
  const { name, expires } = token;
  if (expires === undefined || nowMs < expires.getTime()) return { name, isKnown: true, grants: [token] };
  throw new StowageError(
    "UNAUTHORIZED",
    `Cannot accept the token "${name}": it expired at ${expires.toISOString()}; the operator of the service can renew it`,
  );
}

/** Compares with every token, also after a match. So the time reveals nothing about the tokens. */
function findToken(tokens: readonly Token[], secret: string): Token | undefined {
  const digest = createHash("sha256").update(secret).digest();
  return tokens.reduce<Token | undefined>((found, token) => (hasDigest(token, digest) ? token : found), undefined);
}

function hasDigest({ sha256 }: Token, digest: Uint8Array): boolean {
  const expected = Buffer.from(sha256, "hex");
  return expected.length === digest.length && timingSafeEqual(expected, digest);
}
