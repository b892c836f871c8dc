/**
 * Finds the caller of a token that an OIDC issuer has signed (RFC 7519, RFC 8725). The token of an issuer that no rule
 * names is refused before anything is asked.
 */
import { createHash } from "node:crypto";
import { type JWTPayload, decodeJwt, decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { Caller, OidcRule } from "../auth/access.ts";
import { describeClaims, fitsClaims, grantOf } from "../auth/claims.ts";
import { StowageError, messageOf, quote } from "../errors.ts";
import { notice } from "../events.ts";
import { describeJson } from "../oci/json.ts";
import { IssuerKeys, type IssuerKeysOptions } from "./issuer-keys.ts";

/** Characters of a token. Those of the known issuers have some 2,000. */
const maxTokenLength = 16 * 1024;
/** The clocks of the issuer and of the service may differ by this much. */
const clockSkewSeconds = 60;
/** Signatures by a key pair. With `none` or HS256, clients could sign for the issuer. */
const algorithms = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split(" ");

/** Has the text the form of a signed token? Secrets of `stowage token` do not have it. */
export function isSignedToken(secret: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(secret);
}

export class OidcCallers {
  readonly #options: IssuerKeysOptions;
  /** By issuer. The rules bound their number. */
  readonly #keys = new Map<string, IssuerKeys>();

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
  }

  /** Throws `UNAUTHORIZED` with the reason, or `ISSUER_UNAVAILABLE`. */
  async find(rules: readonly OidcRule[], token: string): Promise<Caller> {
    if (token.length > maxTokenLength) {
      throw refused(`it has ${token.length} characters, at most ${maxTokenLength} are allowed`);
    }
    const issuer = issuerOf(token);
    const ofIssuer = rules.filter((rule) => rule.issuer === issuer);
    if (issuer === undefined || ofIssuer.length === 0) {
      throw refused(`no rule of STOWAGE_OIDC is for its issuer, ${describeJson(issuer)}`);
    }
    const claims = await this.#verify(token, issuer, ofIssuer);
    if (typeof claims.sub !== "string" || claims.sub === "") throw refused('its claim "sub" is no text');
    const ofAudience = ofIssuer.filter(({ audience }) => [claims.aud].flat().includes(audience));
    const fitting = ofAudience.filter((rule) => fitsClaims(rule, claims));
    if (fitting.length === 0) {
      throw refused(`no rule of STOWAGE_OIDC fits its claims: ${describeClaims(ofAudience, claims)}`);
    }
    return { name: nameOf(issuer, claims.sub), isKnown: true, grants: fitting.map((rule) => grantOf(rule, claims)) };
  }

  async #verify(token: string, issuer: string, rules: readonly OidcRule[]): Promise<JWTPayload> {
    const keys = this.#keys.get(issuer) ?? new IssuerKeys(issuer, this.#options);
    this.#keys.set(issuer, keys);
    const audience = [...new Set(rules.map((rule) => rule.audience))];
    try {
      const { payload } = await jwtVerify(token, keys.find, {
        issuer,
        audience,
        algorithms,
        requiredClaims: ["sub", "exp"],
        maxTokenAge: Number.MAX_SAFE_INTEGER, // so that `iat` is checked
        clockTolerance: clockSkewSeconds,
        currentDate: new Date(this.#options.clock.now()),
      });
      return payload;
    } catch (error) {
      if (error instanceof StowageError) throw error;
      if (isOfToken(error)) throw refused(reasonOf(error, token, audience), error);
      const message = `the keys of the issuer ${issuer}`;
      this.#options.report(notice("warn", `cannot use ${message}: ${messageOf(error)}`));
      throw new StowageError(
        "ISSUER_UNAVAILABLE",
        `Cannot verify the token with ${message}; the log of the service says why`,
      );
    }
  }
}

/** Without any check. Undefined if the token names none. */
function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch (error) {
    throw refused(`it cannot be read: ${messageOf(error)}`, error);
  }
}

/** Is something wrong with the token, and not with the keys of the issuer? */
function isOfToken(error: unknown): error is errors.JOSEError {
  const isOfKeys = error instanceof errors.JWKInvalid || error instanceof errors.JWKSInvalid;
  return error instanceof errors.JOSEError && !isOfKeys;
}

/** The signature is checked first. So only who has a token of the issuer learns more than that it is not one. */
function reasonOf(error: errors.JOSEError, token: string, audience: readonly string[]): string {
  const header = (name: string): string => describeJson(decodeProtectedHeader(token)[name]);
  if (error instanceof errors.JWTExpired) return `it expired at ${timeOf(error.payload.exp)}`;
  if (error instanceof errors.JWTClaimValidationFailed) return claimReason(error, audience);
  if (error instanceof errors.JWSSignatureVerificationFailed) return "its signature is not that of its issuer";
  if (error instanceof errors.JWKSNoMatchingKey) return `its issuer has no key ${header("kid")} for ${header("alg")}`;
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return `its header has the "alg" ${header("alg")}, expected ${algorithms.join(", ")}`;
  }
  return `it cannot be verified: ${error.message}`;
}

function claimReason({ claim, reason, payload }: errors.JWTClaimValidationFailed, audience: readonly string[]): string {
  if (reason === "missing") return `it has no claim "${claim}"`;
  if (claim === "nbf" && reason === "check_failed") return `it is not valid before ${timeOf(payload.nbf)}`;
  if (claim === "iat" && reason === "check_failed") return `it was issued at ${timeOf(payload.iat)}, in the future`;
  const expected = claim === "aud" ? `, expected ${audience.join(" or ")}` : "";
  return `its claim "${claim}" is ${quote(JSON.stringify(payload[claim]), 200)}${expected}`;
}

function timeOf(seconds = Number.NaN): string {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? String(seconds) : time.toISOString();
}

function refused(reason: string, cause?: unknown): StowageError {
  return new StowageError("UNAUTHORIZED", `Cannot accept the token: ${reason}`, { cause });
}

/** Characters of the subject in a name. */
const maxSubjectLength = 200;

/**
 * `token.actions.githubusercontent.com#repo:acme/app:ref:refs/heads/main`. No other token has this name: neither the
 * name of a token nor an issuer has a `#`. A subject that is long or cannot be shown as it is gets a part of its hash.
 */
function nameOf(issuer: string, subject: string): string {
  const host = issuer.replace(/^https:\/\//, "");
  if (subject.length <= maxSubjectLength && /^[\x21-\x7d]+$/.test(subject)) return `${host}#${subject}`;
  const shown = subject.slice(0, maxSubjectLength).replaceAll(/[^\x21-\x7d]/g, "_");
  return `${host}#${shown}~${createHash("sha256").update(subject).digest("hex").slice(0, 16)}`;
}
