/**
 * Reads the keys of an issuer, at the address that its discovery document names (OpenID Connect Discovery 1.0, section
 * 4; RFC 7517). Errors are for the log.
 */
import type { JSONWebKeySet } from "jose";
import { isTrustworthyUrl } from "../auth/parse-oidc.ts";
import { messageOf } from "../errors.ts";
import { type JsonObject, describeJson, isJsonObject, parseJson } from "../oci/json.ts";
import { readAnswer } from "../remote/answer.ts";
import { openAnswer } from "../remote/open-answer.ts";
import { withinSeconds } from "../streams/in-time.ts";

/** The longest time for both answers. */
export const maxReadSeconds = 5;
/** Bytes of the discovery document, and of the keys. Most issuers send less than 10 KiB. */
const maxAnswerBytes = 256 * 1024;

export async function readKeySet(issuer: string): Promise<JSONWebKeySet> {
  const late = (): Error => new Error(`it did not answer within ${maxReadSeconds} seconds`);
  return withinSeconds({ seconds: maxReadSeconds, late }, async (signal) => {
    const discovery = await readJson(new URL(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`), signal);
    const address = addressOf(discovery, issuer);
    const { keys } = await readJson(address, signal);
    if (Array.isArray(keys) && keys.every(isJsonObject)) return { keys };
    throw new Error(`${address.href} has ${describeJson(keys)} as its keys, expected a list of objects`);
  });
}

/** Keys without TLS are for an issuer without TLS only, and so for this machine. */
function addressOf(discovery: JsonObject, issuer: string): URL {
  const { issuer: found, jwks_uri: text } = discovery;
  if (found !== issuer) throw new Error(`its discovery document is of ${describeJson(found)}`);
  if (typeof text === "string" && isTrustworthyUrl(text)) {
    const address = new URL(text);
    if (address.protocol === "https:" || new URL(issuer).protocol === "http:") return address;
  }
  throw new Error(`its discovery document has ${describeJson(text)} as jwks_uri, expected an address with https://`);
}

/** Follows no redirect: an open redirect of the issuer must not lead to the keys of others. */
async function readJson(url: URL, signal: AbortSignal): Promise<JsonObject> {
  const { href } = url;
  const headers = { "User-Agent": "stowage", Accept: "application/json" };
  const options = { method: "GET", headers, followsRedirects: false, maxIdleSeconds: maxReadSeconds, signal } as const;
  const answer = await readAnswer(await openAnswer(url, options), { maxBytes: maxAnswerBytes, what: href });
  if (answer.status !== 200) throw new Error(`${href} answered ${answer.status}, expected 200`);
  const json = parse(answer.bytes, href);
  if (isJsonObject(json)) return json;
  throw new Error(`${href} has ${describeJson(json)}, expected an object`);
}

function parse(bytes: Uint8Array, href: string): unknown {
  try {
    return parseJson(bytes);
  } catch (error) {
    throw new Error(`${href} has no JSON: ${messageOf(error)}`, { cause: error });
  }
}
