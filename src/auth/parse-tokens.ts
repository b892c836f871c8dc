/** Reads the tokens of a setting, or of a file, a JSON list. */
import { createHash } from "node:crypto";
import type { Token } from "./access.ts";
import { type ParsedList, actionsForm, isActions, isPatterns, parseList, patternsForm } from "./parse-list.ts";

const properties = ["name", "sha256", "actions", "repositories", "expires"];

/**
 * Reads `[{"name", "sha256", "actions", "repositories"?, "expires"?}, …]`. Without `repositories`, a token is for all
 * of them.
 */
export function parseTokens(text: string): ParsedList<Token> {
  const { entries, problems } = parseList<Token>(text, properties, (read, entry) => {
    const name = read("name", isTokenName, tokenNameForm);
    const sha256 = read("sha256", isDigestOfSecret, digestForm);
    const allowed = read("actions", isActions, actionsForm);
    const repositories = entry["repositories"] === undefined ? ["**"] : read("repositories", isPatterns, patternsForm);
    const expires = entry["expires"] === undefined ? "never" : read("expires", isExpiry, expiryForm);
    if (!name || !sha256 || !allowed || !repositories || !expires) return undefined;
    const token = { name, sha256, actions: allowed, repositories };
    return expires === "never" ? token : { ...token, expires: expiryOf(expires) };
  });
  const repeated = (["name", "sha256"] as const).filter(
    (key) => new Set(entries?.map((token) => token[key])).size < (entries?.length ?? 0),
  );
  const ofRepeated = repeated.map((key) => `several entries have the same ${key}, expected a different one in each`);
  return { entries, problems: [...problems, ...ofRepeated] };
}

/** Names of callers without a token. A token with such a name would share the turns and the uploads of all of them. */
const reservedNames = ["anyone", "nobody", "unknown"];

/** A name must fit into a log, a URL and a list of settings. */
export function isTokenName(value: unknown): value is string {
  return (
    typeof value === "string" && /^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,63}$/.test(value) && !reservedNames.includes(value)
  );
}

export const tokenNameForm =
  '1 to 64 letters, digits, ".", "_", "-" and "@", the first a letter or digit, and none of ' +
  reservedNames.join(", ");

/**
 * Digests of an empty secret, without and with a line end. They come from an unset variable in a script, and are
 * refused.
 */
const emptyDigests = ["", "\n"].map((text) => createHash("sha256").update(text).digest("hex"));

const digestForm = '64 lower-case hex digits, as "stowage token" prints, of a secret that is not empty';

function isDigestOfSecret(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value) && !emptyDigests.includes(value);
}

export const expiryForm = "a time with its zone, such as 2027-03-31T12:00:00Z, or a day, such as 2027-03-31";

/** ISO 8601, as far as all runtimes read it alike. */
const timeForm = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/;

export function isExpiry(value: unknown): value is string {
  if (typeof value !== "string") return false;
  const [, day = ""] = timeForm.exec(value) ?? [];
  // Some runtimes read the 30th of February as the 2nd of March.
  const isDay = day !== "" && !Number.isNaN(Date.parse(day)) && new Date(day).toISOString().startsWith(day);
  return isDay && !Number.isNaN(Date.parse(value));
}

/** The time of an expiry that `isExpiry`. A day counts to its end, in UTC. */
export function expiryOf(text: string): Date {
  return new Date(text.includes("T") ? text : `${text}T24:00:00Z`);
}
