/** Says who may do what, for the line with which a service starts. */
import { type Access, type Grant, actions } from "./access.ts";

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
