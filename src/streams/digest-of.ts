/** SHA-256 of bytes that are all in memory: every runtime works it out beside the calling thread. */
import { Buffer } from "node:buffer";

/** The digest of `bytes`, `sha256:<64 hex>`. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `sha256:${Buffer.from(digest).toString("hex")}`;
}
