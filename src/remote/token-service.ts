/**
 * Asks a registry's token service for a token (distribution's "Token Authentication Specification", and its "OAuth2"
 * for an identity token).
 */
import type { Clock } from "../clock.ts";
import { StowageError } from "../errors.ts";
import { errorText, jsonIn } from "../oci/error-body.ts";
import { isLoopback } from "../loopback.ts";
import { isJsonObject } from "../oci/json.ts";
import { type Answer, inAnswerTime, isSuccess, readAnswer } from "./answer.ts";
import { type Credentials, authorizationOf } from "./credentials.ts";
import { isWrongAddress } from "./describe-failure.ts";
import { NoAnswer, type OpenRequest, openAnswer } from "./open-answer.ts";
import { tryAgain } from "./try-again.ts";

/** Bytes of a token service's answer. */
const maxTokenBytes = 64 * 1024;

export interface TokenRequest {
  /** What the registry's challenge says. */
  readonly parameters: ReadonlyMap<string, string>;
  /** The scope, if the challenge names none. */
  readonly scope: string;
  readonly registry: URL;
  /** Without credentials, a token for anybody is asked for. */
  readonly credentials: Credentials | undefined;
  readonly maxIdleSeconds: number;
  readonly clock: Clock;
}

/** Returns the `Authorization` header. Throws as `fetchToken`. */
export async function askToken(request: TokenRequest): Promise<string> {
  const { registry, parameters, clock, maxIdleSeconds } = request;
  const realm = realmOf(parameters.get("realm") ?? "", registry);
  const question = questionOf(realm, request);
  const fields = ["token", "access_token"];
  const options = { ...question, fields, clock, maxIdleSeconds, signal: AbortSignal.any([]) };
  return `Bearer ${await fetchToken(realm, options)}`;
}

/**
 * Asks a URL for a token. `fields` are the names that the token can have in the answer: the first one that is there
 * counts. Throws `UNAUTHORIZED` if it refuses, and `STORE_UNAVAILABLE` without answer.
 */
export async function fetchToken(
  url: URL,
  { fields, clock, signal, ...question }: OpenRequest & { readonly fields: readonly string[]; readonly clock: Clock },
): Promise<string> {
  const what = `a token from ${url.origin}${url.pathname}`;
  const ask = async (): Promise<Answer> =>
    inAnswerTime({ what, signal }, async (inTime) => {
      const opened = await openAnswer(url, { ...question, signal: inTime });
      return readAnswer(opened, { maxBytes: maxTokenBytes, what });
    });
  try {
    return tokenIn(await tryAgain(ask, { clock, signal, isHopeless: isWrongAddress }), { fields, what });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    throw new StowageError("STORE_UNAVAILABLE", `Cannot get ${what}: ${error.message}`, { cause: error });
  }
}

/**
 * Credentials go there, so only by TLS. A registry on this machine may have its token service there too, without TLS.
 */
function realmOf(text: string, registry: URL): URL {
  const realm = URL.canParse(text) ? new URL(text) : undefined;
  const isLocal = realm?.protocol === "http:" && isLoopback(realm.hostname) && isLoopback(registry.hostname);
  if (realm !== undefined && (realm.protocol === "https:" || isLocal) && realm.username === "") return realm;
  const shown = JSON.stringify(text.slice(0, 200));
  const message = `Cannot get a token for ${registry.origin}: found ${shown} as its token service, expected https://`;
  throw new StowageError("UNAUTHORIZED", message);
}

/** Adds what is asked to the realm's query, or to a form. */
function questionOf(
  realm: URL,
  { parameters, scope: wanted, credentials }: TokenRequest,
): Pick<OpenRequest, "method" | "headers" | "authorization" | "body"> {
  const headers = { Accept: "application/json" };
  const service = parameters.get("service");
  const scope = parameters.get("scope") ?? wanted;
  if (credentials !== undefined && "identityToken" in credentials) {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: credentials.identityToken,
      client_id: "stowage",
      scope,
    });
    if (service !== undefined) form.set("service", service);
    return { method: "POST", headers, body: form };
  }
  if (service !== undefined) realm.searchParams.set("service", service);
  for (const part of scope.split(" ")) realm.searchParams.append("scope", part);
  return { method: "GET", headers, authorization: credentials && authorizationOf(credentials) };
}

function tokenIn(
  answer: Answer,
  { fields, what }: { readonly fields: readonly string[]; readonly what: string },
): string {
  const json = isSuccess(answer) ? jsonIn(answer.bytes) : undefined;
  const token = isJsonObject(json)
    ? fields.map((field) => json[field]).find((value) => typeof value === "string")
    : undefined;
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  if (isSuccess(answer)) throw new StowageError("STORE_UNAVAILABLE", `Cannot get ${what}: its answer has no token`);
  const code = [400, 401, 403].includes(answer.status) ? "UNAUTHORIZED" : "STORE_UNAVAILABLE";
  throw new StowageError(code, `Cannot get ${what}: it answered ${answer.status} ${errorText(answer.bytes)}`);
}
