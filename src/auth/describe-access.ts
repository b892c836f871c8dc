/** Says in the log who may do what, and which tokens expire soon. */
import { type Access, type Grant, type OidcRule, type Token, actions, verbOf } from "./access.ts";

/** Tokens, and rules, that `describeAccess` names. */
const maxNamed = 20;

/**
 * For the first line of the log: `anyone may pull, load, copy, delete and read metrics`, or
 * `ci may load in team/**; cluster may pull; nobody else may do anything`.
 */
export function describeAccess(access: Access): string {
  if (access === "anyone") return `anyone may ${listed(actions.map(verbOf))}`;
  const { tokens, oidc = [], anonymousPull } = access;
  const named = [
    ...firstOf(tokens, "token", (token) => `${token.name} may ${describeGrant(token)}`),
    ...firstOf(oidc, "OIDC rule", (rule) => `${describeIdentity(rule)} may ${describeGrant(rule)}`),
  ];
  const others = named.length === 0 ? "everybody" : "everybody else";
  const nobody = named.length === 0 ? "nobody" : "nobody else";
  return [...named, anonymousPull ? `${others} may pull` : `${nobody} may do anything`].join("; ");
}

function firstOf<T>(items: readonly T[], what: string, describe: (item: T) => string): string[] {
  const named = items.slice(0, maxNamed).map(describe);
  const more = items.length - named.length;
  return more === 0 ? named : [...named, `${more} more ${more === 1 ? what : `${what}s`}`];
}

/** `repository_owner=acme of https://token.actions.githubusercontent.com` */
function describeIdentity({ issuer, claims }: OidcRule): string {
  const conditions = Object.entries(claims).map(([claim, pattern]) => `${claim}=${pattern}`);
  return `${listed(conditions)} of ${issuer}`;
}

function describeGrant({ actions: allowed, repositories }: Grant): string {
  const isEverywhere = repositories.includes("**");
  return `${listed(allowed.map(verbOf))}${isEverywhere ? "" : ` in ${listed(repositories)}`}`;
}

function listed(words: readonly string[]): string {
  const last = words.at(-1) ?? "nothing";
  return words.length < 2 ? last : `${words.slice(0, -1).join(", ")} and ${last}`;
}

const dayMs = 24 * 60 * 60 * 1000;
/** Days before the end of a token from which on the log warns of it. */
const warnedDays = 14;

/** A warning for each token that has expired, or expires soon. */
export function warnOfExpiry(tokens: readonly Token[], nowMs: number): string[] {
  return tokens.flatMap(({ name, expires }) => {
    if (expires === undefined || expires.getTime() - nowMs > warnedDays * dayMs) return [];
    const verb = expires.getTime() <= nowMs ? "expired" : "expires";
    return [`the token "${name}" ${verb} at ${expires.toISOString()}; \`stowage token ${name}\` makes another`];
  });
}
