/** Reads the tokens of a setting, a JSON list. Messages repeat no values: any of them may be a secret. */
import { createHash } from "node:crypto";
import { isJsonObject } from "../oci/json.ts";
import { isPattern } from "../oci/tag-pattern.ts";
import { type Action, type Token, actions } from "./access.ts";

interface ParsedTokens {
  /** Undefined for an empty setting. With an empty list, no client has a token. */
  readonly tokens: readonly Token[] | undefined;
  /** One problem for each part that cannot be used. */
  readonly problems: readonly string[];
}

/** Reads `[{"name", "sha256", "actions", "repositories"?}, …]`. A token without `repositories` is for all of them. */
export function parseTokens(text: string): ParsedTokens {
  if (text === "") return { tokens: undefined, problems: [] };
  const list = tryJson(text);
  if (!Array.isArray(list)) {
    return { tokens: [], problems: [`found ${list === undefined ? "no JSON" : kindOf(list)}, expected a JSON list`] };
  }
  const problems: string[] = [];
  const tokens = list.flatMap((entry: unknown, i) => {
    return readToken(entry, (problem) => problems.push(`entry ${i + 1} of ${list.length}: ${problem}`)) ?? [];
  });
  for (const key of ["name", "sha256"] as const) {
    if (new Set(tokens.map((token) => token[key])).size < tokens.length) {
      problems.push(`several entries have the same ${key}, expected a different one in each`);
    }
  }
  return { tokens, problems };
}

/** A name must fit into a log, a URL and a list of settings. */
export function isTokenName(value: unknown): value is string {
  return typeof value === "string" && /^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,63}$/.test(value);
}

export const tokenNameForm = '1 to 64 letters, digits, ".", "_", "-" and "@", the first a letter or digit';

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the message of the error would show a part of the text
  }
}

function readToken(entry: unknown, report: (problem: string) => void): Token | undefined {
  if (!isJsonObject(entry)) {
    report(`found ${kindOf(entry)}, expected an object`);
    return undefined;
  }
  const read = <T>(key: string, isRight: (value: unknown) => value is T, expected: string): T | undefined => {
    const value = entry[key];
    if (isRight(value)) return value;
    report(`${key} is ${kindOf(value)}, expected ${expected}`);
    return undefined;
  };
  const name = read("name", isTokenName, tokenNameForm);
  const sha256 = read(
    "sha256",
    isDigestOfSecret,
    '64 lower-case hex digits, as "stowage token" prints, of a secret that is not empty',
  );
  const allowed = read("actions", isListOf(isAction), 'a list of "pull", "load", "copy" and "delete", or some of them');
  const repositories =
    entry["repositories"] === undefined ? ["**"] : read("repositories", isListOf(isNamePattern), patternForm);
  if (Object.keys(entry).some((key) => !properties.has(key))) {
    report(`found a property that means nothing, expected ${[...properties].join(", ")} alone`);
  }
  if (name === undefined || sha256 === undefined || allowed === undefined || repositories === undefined)
    return undefined;
  return { name, sha256, actions: allowed, repositories };
}

const properties: ReadonlySet<string> = new Set(["name", "sha256", "actions", "repositories"]);
const patternForm = 'a list of repository names, "*" in them for any part up to the next "/", "**" for any part at all';

/**
 * Digests of an empty secret, without and with a line end. They come from an unset variable in a script, and are
 * refused.
 */
const emptyDigests = ["", "\n"].map((text) => createHash("sha256").update(text).digest("hex"));

function isDigestOfSecret(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value) && !emptyDigests.includes(value);
}

function isAction(value: unknown): value is Action {
  return actions.some((action) => action === value);
}

function isNamePattern(value: unknown): value is string {
  return typeof value === "string" && isPattern(value);
}

/** An empty list is refused: a token that allows nothing is a mistake. */
function isListOf<T>(isRight: (value: unknown) => value is T): (value: unknown) => value is readonly T[] {
  return (value): value is readonly T[] => Array.isArray(value) && value.length > 0 && value.every(isRight);
}

function kindOf(value: unknown): string {
  if (value === undefined) return "not there";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list of something else";
  if (typeof value === "object") return "an object";
  return typeof value === "string" ? `a text of ${value.length} characters` : `a ${typeof value}`;
}
