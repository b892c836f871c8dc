/** Compares the claims of a verified token with the rules for OIDC, and makes the rights that they give. */
import { StowageError, quote } from "../errors.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import { isRepositoryName } from "../oci/reference.ts";
import { isPattern, matchesPattern } from "../oci/tag-pattern.ts";
import type { Grant, OidcRule } from "./access.ts";

/** `${claim}` in the pattern of a repository. */
export const placeholder = /\$\{([^{}]+)\}/g;

/** Do all claims of the rule fit? */
export function fitsClaims({ claims }: OidcRule, token: JsonObject): boolean {
  return Object.entries(claims).every(([claim, pattern]) => fits(pattern, token[claim]));
}

/** A list fits if one of its items does. */
function fits(pattern: string, value: unknown): boolean {
  if (Array.isArray(value)) return value.some((item) => !Array.isArray(item) && fits(pattern, item));
  const text = textOf(value);
  return text !== undefined && matchesPattern(pattern, text);
}

/** The text of a value. Numbers that JSON's readers round have none: one of them could fit in the place of another. */
function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "boolean" || Number.isSafeInteger(value)) return String(value);
  return undefined;
}

/**
 * The rights of a rule whose claims fit. Throws `UNAUTHORIZED` if a claim in its repositories is missing, or cannot be
 * a part of a name.
 */
export function grantOf({ actions, repositories }: OidcRule, token: JsonObject): Grant {
  return { actions, repositories: repositories.map((pattern) => fillIn(pattern, token)) };
}

function fillIn(pattern: string, token: JsonObject): string {
  const filled = pattern.replaceAll(placeholder, (_, claim: string) => namePartOf(claim, token));
  if (isPattern(filled)) return filled;
  throw refused(`its claims make the name ${quote(filled)}, which no repository can have`);
}

/** The value of a claim, which has to be a name by itself: it brings no `*`, and no `/` at its ends. */
function namePartOf(claim: string, token: JsonObject): string {
  const value = token[claim];
  // `toLowerCase` alone would make a `k` of the sign for Kelvin.
  const name = textOf(value)?.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
  if (name !== undefined && isRepositoryName(name)) return name;
  throw refused(`its claim ${quote(claim)} is ${describeValue(value)}, expected a part of a repository's name`);
}

function refused(reason: string): StowageError {
  return new StowageError("UNAUTHORIZED", `Cannot accept the token: ${reason}`);
}

/** For a message: `repository_owner is "evil", ref is missing`. The values are the caller's own. */
export function describeClaims(rules: readonly OidcRule[], token: JsonObject): string {
  const names = new Set(rules.flatMap(({ claims }) => Object.keys(claims)));
  return Array.from(names, (name) => `${name} is ${describeValue(token[name])}`).join(", ");
}

function describeValue(value: unknown): string {
  if (value === undefined) return "missing";
  return Array.isArray(value) ? `a list of ${value.map(describeJson).join(", ")}` : describeJson(value);
}
