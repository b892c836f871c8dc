/** `POST /v1/blobs/missing`: which of these blobs the store lacks, and how large a tarball may be sent in one request. */
import { type Digest, digestForm, isDigest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import { findMissingBlobs } from "../uploads/find-missing-blobs.ts";
import { turnOf } from "./authentication.ts";
import { readJsonObject } from "./request-json.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

const maxBodyBytes = 1024 * 1024;
const maxDigests = 10_000;

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
          const missing = await findMissingBlobs(layout, parseDigests(json), turnOf(c));
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
