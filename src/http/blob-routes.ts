/** `GET` and `HEAD /v2/<name>/blobs/<digest>`, whole or a range (distribution specification, "Pulling blobs"). */
import type { Context } from "hono";
import type { Digest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";
import { headBlob, presignBlob } from "../layout/blobs.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import { parseDigest } from "../oci/reference.ts";
import type { ByteRange, ObjectInfo, StoreReader } from "../storage/object-store.ts";
import { isAllowed } from "./authentication.ts";
import type { OpenBlob } from "./answers.ts";
import { contentHeaders, matchesEtag, notModified, parseRange, rangeHeader } from "./conditions.ts";
import { errorResponse } from "./error-response.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

export function blobRoutes(service: Service): Route[] {
  const isSizeNeeded = mayRedirect(service);
  return [
    route({
      methods: ["GET"],
      path: "/v2/<name>/blobs/<digest>",
      needs: "pull", // for this repository, although all repositories share their blobs
      headAlsoFor: "load",
      async answer(c, parameters) {
        const digest = parseDigest(parameters.digest);
        if (c.req.method === "HEAD" || hasConditions(c) || isSizeNeeded) {
          return answerConditions(c, { repository: parameters.name, digest }, service);
        }
        return whole(digest, await openOrThrow(c, digest, service));
      },
    }),
  ];
}

interface AskedBlob {
  readonly repository: string;
  readonly digest: Digest;
}

/** Answers a request that depends on the size of the blob: without bytes, with a range of them, or with a redirect. */
async function answerConditions(c: Context, { repository, digest }: AskedBlob, service: Service): Promise<Response> {
  const info = await headBlob(storeFor(c, repository, service), digest, { signal: c.req.raw.signal });
  if (info === undefined) throw unknownBlob(digest);
  if (matchesEtag(c.req.header("If-None-Match"), digest)) return notModified(digest);
  if (c.req.method === "HEAD") return new Response(null, { headers: blobHeaders(digest, info.size) });
  const range = parseRange(rangeHeader(c, digest), info.size);
  if (range === "unsatisfiable") return rangeNotSatisfiable(c, info);
  const redirect = await redirectBlob(digest, info.size, service);
  if (redirect !== undefined) return redirect;
  const length = range === undefined ? info.size : range.end - range.start + 1;
  checkAnswerSize(digest, length, service);
  if (range === undefined) return whole(digest, await openOrThrow(c, digest, service));
  return part(digest, await openOrThrow(c, digest, service, range), range);
}

/**
 * The store that answers. A client that pushes asks for a blob, and sends it only if it is absent. So a question by a
 * caller that may load rescues the blob from a gc.
 */
function storeFor(c: Context, repository: string, { layout }: Service): StoreReader {
  const isPush = c.req.method === "HEAD" && isAllowed(c, "load", repository);
  return isPush ? RescuingStore.forOneBlob(layout) : layout.store;
}

function hasConditions(c: Context): boolean {
  return c.req.header("If-None-Match") !== undefined || c.req.header("Range") !== undefined;
}

async function openOrThrow(c: Context, digest: Digest, { answers }: Service, range?: ByteRange): Promise<OpenBlob> {
  const blob = await answers.openBlob(c, digest, range);
  if (blob === undefined) throw unknownBlob(digest);
  return blob;
}

function whole(digest: Digest, { size, body }: OpenBlob): Response {
  return new Response(body, { headers: blobHeaders(digest, size) });
}

function part(digest: Digest, { size, body }: OpenBlob, { start, end }: ByteRange): Response {
  return new Response(body, {
    status: 206,
    headers: { ...blobHeaders(digest, end - start + 1), "Content-Range": `bytes ${start}-${end}/${size}` },
  });
}

function rangeNotSatisfiable(c: Context, { size }: ObjectInfo): Response {
  const found = c.req.header("Range") ?? "";
  const message = `Cannot send the range ${quote(found, 100)}: the blob has ${size} bytes`;
  return errorResponse(new StowageError("RANGE_INVALID", message), {
    c,
    headers: { "Content-Range": `bytes */${size}` },
  });
}

function blobHeaders(digest: Digest, length: number): Record<string, string> {
  return {
    ...contentHeaders(digest, length),
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff", // a browser takes no layer for a page or a script
    "Accept-Ranges": "bytes",
  };
}

function unknownBlob(digest: Digest): StowageError {
  return new StowageError("BLOB_UNKNOWN", `Cannot find blob "${digest}"`, { detail: { digest } });
}

/** A redirect costs the client a round trip and a connection: a smaller blob is sent in less time. */
const minRedirectBytes = 64 * 1024;

/** The headers of an answer take at most this many bytes of the platform's limit. */
const headerBytes = 64 * 1024;

/** A presigned URL is valid for this long. A download that has begun goes on. */
export const urlSeconds = 20 * 60;

/** Can a blob be redirected, or be too large to send? Only then its size is needed before its bytes. */
function mayRedirect({ layout, redirectBlobs, maxResponseBytes }: Service): boolean {
  return maxResponseBytes !== undefined || (redirectBlobs && layout.store.presigner !== undefined);
}

/**
 * A redirect to the bucket (a 307, distribution specification, "Pulling blobs"). It is for blobs that are too large for
 * the platform, and by the settings for all blobs except small ones. Undefined if the service sends the blob itself.
 */
async function redirectBlob(digest: Digest, size: number, service: Service): Promise<Response | undefined> {
  const isWanted = (service.redirectBlobs && size > minRedirectBytes) || !fitsAnswer(size, service);
  const url = isWanted ? await presignBlob(service.layout.store, digest, { seconds: urlSeconds }) : undefined;
  if (url === undefined) return undefined;
  return new Response(null, {
    status: 307,
    headers: { Location: url, "Docker-Content-Digest": digest, "Content-Length": "0", "Cache-Control": "no-store" },
  });
}

/** Throws `UNSUPPORTED` if the platform would cut off an answer of this size. */
function checkAnswerSize(digest: Digest, size: number, service: Service): void {
  if (fitsAnswer(size, service)) return;
  const { maxResponseBytes } = service;
  throw new StowageError(
    "UNSUPPORTED",
    `Cannot send ${size} bytes of blob "${digest}": the platform lets ${maxResponseBytes} through, and the store has ` +
      "no presigned URLs; ask for shorter ranges",
    { detail: { digest, found: size, expected: maxResponseBytes } },
  );
}

/** Does the platform let an answer of this size through? */
export function fitsAnswer(size: number, { maxResponseBytes }: Service): boolean {
  return maxResponseBytes === undefined || size + headerBytes <= maxResponseBytes;
}
