/** The rules of access: callers, actions and repositories. They do not depend on HTTP. */
import { createHash, timingSafeEqual } from "node:crypto";
import { matchesPattern } from "../oci/tag-pattern.ts";

/**
 * What a token can allow. `load` adds images. `copy` copies images to the targets of the settings. `delete` removes manifests and
 * tags.
 */
export type Action = "pull" | "load" | "copy" | "delete";

export const actions: readonly Action[] = ["pull", "load", "copy", "delete"];

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
}

/** The tokens of a service, and what needs none. */
export interface AccessRules {
  readonly tokens: readonly Token[];
  /** Clients without a token may pull everything. */
  readonly anonymousPull: boolean;
}

/** `anyone`: every client may do everything. */
export type Access = AccessRules | "anyone";

/** Does the grant allow the action with the repository? Without a repository: with at least one repository? */
export function permits(grant: Grant, action: Action, repository?: string): boolean {
  if (!grant.actions.includes(action)) return false;
  return repository === undefined || grant.repositories.some((pattern) => matchesPattern(pattern, repository));
}

/** Tokens that `describeAccess` names. */
const maxNamed = 5;

/**
 * For the first line of the log: `anyone may pull, load, copy and delete`, or `ci may load in team/**; cluster may pull; nobody else
 * may do anything`.
 */
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

/** The sender of a request, with its rights. */
export interface Caller extends Grant {
  /** For the log: a token's name, `nobody` without a token, or `anyone` on a service without tokens. */
  readonly name: string;
  /** Has the caller shown a token? */
  readonly isKnown: boolean;
}

const anyone: Caller = { name: "anyone", isKnown: false, actions, repositories: ["**"] };

/**
 * The caller with this secret, or without a secret. Undefined for a wrong secret: a client with a mistyped secret gets
 * an error, and not the rights of a client without a token.
 */
export function findCaller(access: Access, secret: string | undefined): Caller | undefined {
  if (access === "anyone") return anyone;
  if (secret === undefined) return { ...anyone, name: "nobody", actions: access.anonymousPull ? ["pull"] : [] };
  const token = findToken(access.tokens, secret);
  return token === undefined ? undefined : { ...token, isKnown: true };
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
