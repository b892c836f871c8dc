/** A token for a test: the secret, and the setting by which a service knows it. */
import { randomUUID } from "node:crypto";
import type { Action } from "../../src/auth/access.ts";
import { sha256 } from "../support/bytes.ts";

export function makeToken(actions: readonly Action[]): { readonly secret: string; readonly tokens: string } {
  const secret = randomUUID();
  const hex = sha256(Buffer.from(secret)).slice("sha256:".length);
  return { secret, tokens: JSON.stringify([{ name: "test", sha256: hex, actions }]) };
}
