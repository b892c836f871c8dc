/** Reads the rules for OIDC of the setting `STOWAGE_OIDC`, a JSON list. */
import { isLoopback } from "../loopback.ts";
import { isJsonObject } from "../oci/json.ts";
import { isPattern } from "../oci/tag-pattern.ts";
import type { OidcRule } from "./access.ts";
import { placeholder } from "./claims.ts";
import { type ParsedList, actionsForm, isActions, isListOf, parseList } from "./parse-list.ts";

const properties = ["issuer", "audience", "claims", "actions", "repositories"];

/** Reads `[{"issuer", "audience", "claims", "actions", "repositories"}, …]`. */
export function parseOidcRules(text: string): ParsedList<OidcRule> {
  return parseList<OidcRule>(text, properties, (read) => {
    const issuer = read("issuer", isIssuer, "https://…, or http:// on this machine, as in the tokens of the issuer");
    const audience = read("audience", isText, "a text");
    const claims = read("claims", isClaims, claimsForm);
    const allowed = read("actions", isActions, actionsForm);
    const repositories = read("repositories", isTemplates, templatesForm);
    if (!issuer || !audience || !claims || !allowed || !repositories) return undefined;
    return { issuer, audience, claims, actions: allowed, repositories };
  });
}

/** The issuer decides who comes in. Without TLS, everybody on the way could be the issuer. */
export function isTrustworthyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || (protocol === "http:" && isLoopback(hostname));
}

/** OpenID Connect Discovery 1.0, section 3: without a query and a fragment. */
function isIssuer(value: unknown): value is string {
  return typeof value === "string" && /^https?:\/\/[^\s?#@]+$/.test(value) && isTrustworthyUrl(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** Issuers such as GitHub sign tokens for everybody. A rule without claims would let in the whole world. */
const claimsForm = 'an object of claims and their patterns, at least one, such as {"repository_owner": "acme"}';

function isClaims(value: unknown): value is Readonly<Record<string, string>> {
  return isJsonObject(value) && isListOf(Object.values(value), isText);
}

const templatesForm =
  'a list of repository names, "*" in them for any part up to the next "/", "**" for any part at all, ' +
  '"${claim}" for the value of a claim';

function isTemplates(value: unknown): value is readonly string[] {
  return isListOf(value, (item) => typeof item === "string" && isPattern(item.replaceAll(placeholder, "a")));
}
