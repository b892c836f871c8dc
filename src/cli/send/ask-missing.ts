/** Asks a service which blobs it does not have, so that the others are not sent. */
import type { Digest } from "../../digest.ts";
import { isJsonObject } from "../../oci/json.ts";
import { jsonIn } from "../../oci/error-body.ts";
import { isSuccess } from "../../remote/answer.ts";
import type { ServiceClient } from "./service-client.ts";

/** A service takes at most this many digests in one request. */
const maxDigests = 10_000;

export interface Missing {
  readonly digests: ReadonlySet<string>;
  /** A tarball of at most this many bytes may be sent in one request. */
  readonly directBytes: number;
}

/**
 * This is the first request to a service. If there is no service, or another program answers, the user learns it at
 * once.
 */
export async function askMissing(
  digests: readonly Digest[],
  { service, signal }: { readonly service: ServiceClient; readonly signal: AbortSignal },
): Promise<Missing> {
  const missing = new Set<string>();
  let directBytes = 0;
  for (let i = 0; i === 0 || i < digests.length; i += maxDigests) {
    const json = { digests: digests.slice(i, i + maxDigests) };
    const answer = await service.ask("v1/blobs/missing", { method: "POST", json, signal });
    if (!isSuccess(answer)) throw service.refused(answer);
    const found = parseMissing(jsonIn(answer.bytes));
    if (found === undefined) {
      throw service.failed(`it answered ${answer.status} without a list of missing blobs: is this a Stowage?`);
    }
    for (const digest of found.missing) missing.add(digest);
    directBytes = found.directBytes;
  }
  return { digests: missing, directBytes };
}

function parseMissing(
  json: unknown,
): { readonly missing: readonly string[]; readonly directBytes: number } | undefined {
  if (!isJsonObject(json)) return undefined;
  const { missing, directBytes } = json;
  if (!Array.isArray(missing) || typeof directBytes !== "number") return undefined;
  const digests = missing.filter((digest) => typeof digest === "string");
  return digests.length === missing.length ? { missing: digests, directBytes } : undefined;
}
