/** From the secret that a request shows to whoever asks. */
import { createHash, timingSafeEqual } from "node:crypto";
import { type Access, type Grant, type Token, actions } from "./access.ts";

/** Whoever asks, and what they may do. */
export interface Caller extends Grant {
  /** For the log: a token's name, `nobody`, or `anyone` where nobody is asked. */
  readonly name: string;
  /** Have they said who they are? */
  readonly isKnown: boolean;
}

const anyone: Caller = { name: "anyone", isKnown: false, actions, repositories: ["**"] };

/**
 * Finds who shows this secret, or no secret at all. Undefined if no token has it: a wrong secret is never taken for
 * none, so that whoever mistypes one learns of it.
 */
export function findCaller(access: Access, secret: string | undefined): Caller | undefined {
  if (access === "anyone") return anyone;
  if (secret === undefined) return { ...anyone, name: "nobody", actions: access.anonymousPull ? ["pull"] : [] };
  const token = findToken(access.tokens, secret);
  return token === undefined ? undefined : { ...token, isKnown: true };
}

/** Compares with every token, whether one was found or not: how long it takes tells nothing of them. */
function findToken(tokens: readonly Token[], secret: string): Token | undefined {
  const digest = createHash("sha256").update(secret).digest();
  return tokens.reduce<Token | undefined>((found, token) => (hasDigest(token, digest) ? token : found), undefined);
}

function hasDigest({ sha256 }: Token, digest: Uint8Array): boolean {
  const expected = Buffer.from(sha256, "hex");
  return expected.length === digest.length && timingSafeEqual(expected, digest);
}
