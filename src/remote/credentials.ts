/** What a user shows to a registry, and the `Authorization` header that it makes. */
import { Buffer } from "node:buffer";
import { StowageError } from "../errors.ts";

/**
 * - A user and a password: sent to the registry, or to the token service that the registry names.
 * - A token: sent to the registry as it is. A Stowage service takes its tokens so.
 * - An identity token: exchanged for a token at the token service. `docker login` keeps one for some registries.
 */
export type Credentials =
  | { readonly user: string; readonly password: string }
  | { readonly token: string }
  | { readonly identityToken: string };

/**
 * The credentials in a URL: `https://USER:PASSWORD@…`, or `https://:TOKEN@…`. Undefined without any. `where` names the
 * URL in messages. Throws `INPUT_INVALID`, without any secret in the message.
 */
export function credentialsOf({ username, password }: URL, where: string): Credentials | undefined {
  if (username === "" && password === "") return undefined;
  if (password === "") {
    throw new StowageError("INPUT_INVALID", `${where} has a user without a password, expected https://USER:TOKEN@…`);
  }
  if (username === "") return tokenOf(decodePercents(password), `the token in ${where}`);
  const user = decodePercents(username);
  if (!user.includes(":")) return { user, password: decodePercents(password) };
  throw new StowageError("INPUT_INVALID", `the user in ${where} has a colon, which HTTP does not allow`);
}

/** Checks a token. `where` names it in messages. Throws `INPUT_INVALID`. */
export function tokenOf(token: string, where: string): { readonly token: string } {
  if (/^[\x21-\x7e]+$/.test(token)) return { token };
  const problem = token === "" ? "is empty" : "has characters that no token has, such as spaces or line ends";
  throw new StowageError("INPUT_INVALID", `${where} ${problem}`);
}

/** The `Authorization` header. Undefined for an identity token, which only a token service takes. */
export function authorizationOf(credentials: Credentials): string | undefined {
  if ("token" in credentials) return `Bearer ${credentials.token}`;
  if ("identityToken" in credentials) return undefined;
  return `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString("base64")}`;
}

export function decodePercents(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
