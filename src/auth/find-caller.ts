/** Finds the caller by its secret. */
import { createHash, timingSafeEqual } from "node:crypto";
import { type Access, type Grant, type Token, actions } from "./access.ts";

/** The sender of a request, with its rights. */
export interface Caller extends Grant {
  /** For the log: a token's name, `nobody` without a token, or `anyone` on a service without tokens. */
  readonly name: string;
  /** Has the caller shown a token? */
  readonly isKnown: boolean;
}

const anyone: Caller = { name: "anyone", isKnown: false, actions, repositories: ["**"] };

/**
 * The caller with this secret, or without a secret. Undefined for a wrong secret: a client with a mistyped secret gets
 * an error, and not the rights of a client without a token.
 */
export function findCaller(access: Access, secret: string | undefined): Caller | undefined {
  if (access === "anyone") return anyone;
  if (secret === undefined) return { ...anyone, name: "nobody", actions: access.anonymousPull ? ["pull"] : [] };
  const token = findToken(access.tokens, secret);
  return token === undefined ? undefined : { ...token, isKnown: true };
}

/** Compares with every token, also after a match. So the time reveals nothing about the tokens. */
function findToken(tokens: readonly Token[], secret: string): Token | undefined {
  const digest = createHash("sha256").update(secret).digest();
  return tokens.reduce<Token | undefined>((found, token) => (hasDigest(token, digest) ? token : found), undefined);
}

function hasDigest({ sha256 }: Token, digest: Uint8Array): boolean {
  const expected = Buffer.from(sha256, "hex");
  return expected.length === digest.length && timingSafeEqual(expected, digest);
}
