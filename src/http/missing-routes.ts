/**
 * `POST /v1/blobs/missing`: which of these blobs the store lacks, and how large a tarball may be sent in one request.
 */
import { type Digest, digestForm, isDigest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import { headBlob } from "../layout/blobs.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { Layout } from "../layout/layout.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { concurrently } from "../streams/concurrently.ts";
import { requesterOf } from "./authentication.ts";
import { readJsonObject } from "./small-body.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

const maxDigests = 10_000;
/** A digest of SHA-512 has 138 characters with its quotes and its comma. */
const maxBodyBytes = 1.5 * 1024 * 1024;

/**
 * A larger tarball is sent in parts, also on platforms without a limit: after a failure, the parts that arrived stay.
 */
const maxDirectBytes = 64 * 1024 * 1024;

export function missingRoutes(service: Service): Route[] {
  const { layout, maxRequestBytes = maxDirectBytes } = service;
  return [
    route({
      methods: ["POST"],
      path: "/v1/blobs/missing",
      needs: "load",
      async answer(c) {
        return readJsonObject(c, service, maxBodyBytes, async (json) => {
          const missing = await findMissingBlobs(layout, parseDigests(json), requesterOf(c));
          const text = JSON.stringify({ missing, directBytes: Math.min(maxDirectBytes, maxRequestBytes) });
          const headers = { "Content-Type": "application/json" };
          return service.answers.sendText(c, async () => ({ maxBytes: text.length, text: () => text, headers }));
        });
      },
    }),
  ];
}

function parseDigests({ digests }: JsonObject): readonly Digest[] {
  if (!Array.isArray(digests) || !digests.every(isDigest)) {
    const found = Array.isArray(digests) ? describeJson(digests.find((it) => !isDigest(it))) : describeJson(digests);
    const expected = `expected a list of digests, ${digestForm} each`;
    throw new StowageError("INPUT_INVALID", `Cannot use the digests: found ${found}, ${expected}`);
  }
  if (digests.length <= maxDigests) return digests;
  const found = digests.length;
  throw limitExceeded(`Cannot look for ${found} blobs at once`, { found, expected: maxDigests });
}

/** Blobs that are looked for at the same time. */
const maxPendingHeads = 32;

/**
 * Returns the digests that the store lacks, in order, each once. All other blobs stay in the store at least
 * for the shortest grace time of a gc: condemned blobs are rescued.
 */
async function findMissingBlobs(
  { store, clock, budget }: Layout,
  digests: readonly Digest[],
  requester: Requester,
): Promise<readonly Digest[]> {
  const rescuing = new RescuingStore(store, clock);
  const present = new Set<Digest>();
  const distinct = [...new Set(digests)];
  await concurrently(distinct, maxPendingHeads, async (digest) => {
    const found = await budget.ask(async () => headBlob(rescuing, digest, requester), requester);
    if (found !== undefined) present.add(digest);
  });
  return distinct.filter((digest) => !present.has(digest));
}
