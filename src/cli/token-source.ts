/**
 * The token that a command shows to a service: a fixed one, one from a file, or an identity token of a GitHub job.
 *
 * An identity token lives for minutes, and a load may take hours. So a command asks for the token before each request.
 */
import { Buffer } from "node:buffer";
import { readFile } from "node:fs/promises";
import { type Clock, systemClock } from "../clock.ts";
import { StowageError, messageOf } from "../errors.ts";
import { isLoopback } from "../loopback.ts";
import { isJsonObject, parseJson } from "../oci/json.ts";
import { tokenOf } from "../remote/credentials.ts";
import { fetchToken } from "../remote/token-service.ts";
import type { CommandIo } from "./command.ts";

/** A token that ends sooner is not shown any more: a request takes time, and clocks differ. */
const spareMs = 60_000;
/** GitHub may be silent for this long. */
const maxIdleSeconds = 60;

/** Returns a token that is valid now. */
export type TokenSource = () => Promise<string>;

interface TokenSourceOptions extends Pick<CommandIo, "env" | "signal"> {
  /** For tests. */
  readonly clock?: Clock;
}

/**
 * The source that the environment names. Undefined without one. Throws `INPUT_INVALID`, without any secret in the
 * message.
 */
export function tokenSourceOf({ env, signal, clock = systemClock }: TokenSourceOptions): TokenSource | undefined {
  const [first, second] = ["STOWAGE_TOKEN", "STOWAGE_TOKEN_FILE", "STOWAGE_TOKEN_AUDIENCE"].filter(
    (name) => (env[name] ?? "") !== "",
  );
  if (first === undefined) return undefined;
  if (second !== undefined)
    throw new StowageError("INPUT_INVALID", `found ${first} and ${second}, expected one of them`);
  const value = env[first] ?? "";
  if (first === "STOWAGE_TOKEN_FILE") return async () => readToken(value);
  if (first === "STOWAGE_TOKEN_AUDIENCE") return githubTokens(value, { env, signal, clock });
  const { token } = tokenOf(value, first);
  return async () => token;
}

/** Kubernetes replaces the token in the file long before the token ends. */
async function readToken(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const message = `Cannot read STOWAGE_TOKEN_FILE: ${messageOf(error)}`;
    throw new StowageError("INPUT_INVALID", message, { cause: error });
  }
  return tokenOf(text.trim(), `the token in ${path}`).token;
}

/** GitHub's identity tokens live for five minutes (as of November 2026). Each is used until its last minute. */
function githubTokens(audience: string, { env, signal, clock }: Required<TokenSourceOptions>): TokenSource {
  const url = requestUrlOf(env["ACTIONS_ID_TOKEN_REQUEST_URL"] ?? "");
  url.searchParams.set("audience", audience);
  const authorization = `Bearer ${env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] ?? ""}`;
  const headers = { Accept: "application/json" };
  let current = { token: "", freshUntilMs: 0 };
  return async () => {
    const nowMs = clock.now();
    if (nowMs < current.freshUntilMs) return current.token;
    const options = {
      method: "GET",
      headers,
      authorization,
      fields: ["value"],
      maxIdleSeconds,
      clock,
      signal,
    } as const;
    const token = await fetchToken(url, options);
    current = { token, freshUntilMs: nowMs + lifetimeMsOf(token) - spareMs };
    return token;
  };
}

/** The token for this request is a secret, so the URL has TLS. */
function requestUrlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && (url.protocol === "https:" || isLoopback(url.hostname))) return url;
  const found =
    text === "" ? "ACTIONS_ID_TOKEN_REQUEST_URL is not set" : "ACTIONS_ID_TOKEN_REQUEST_URL is no https URL";
  const reason = 'only a GitHub job with the permission "id-token: write" has it';
  throw new StowageError("INPUT_INVALID", `Cannot use STOWAGE_TOKEN_AUDIENCE: ${found}; ${reason}`);
}

/**
 * Taken from the token alone, because this machine's clock may differ from GitHub's. 0 if the token does not say it.
 */
function lifetimeMsOf(token: string): number {
  let claims: unknown;
  try {
    claims = parseJson(Buffer.from(token.split(".")[1] ?? "", "base64url"));
  } catch {
    return 0;
  }
  const { iat, exp } = isJsonObject(claims) ? claims : {};
  return typeof iat === "number" && typeof exp === "number" ? (exp - iat) * 1000 : 0;
}
