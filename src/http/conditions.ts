/** Conditions, ranges and lengths in the headers of a request (RFC 9110). The ETag of a content is its digest. */
import type { Context } from "hono";
import { type Digest, isDigest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";
import type { Expectation } from "../oci/index-change.ts";
import type { ByteRange } from "../storage/object-store.ts";

/** Does the client already have this content? */
export function matchesEtag(ifNoneMatch: string | undefined, expected: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(",").some((tag) => {
    const etag = tag.trim().replace(/^W\//, "");
    return etag === "*" || etag === `"${expected}"`;
  });
}

/**
 * The condition of a change: `If-Match: "<digest>"` or `If-None-Match: *`. Any other condition throws `INPUT_INVALID`:
 * ignoring it could undo the change of another client.
 */
export function expectationOf(c: Context): Expectation | undefined {
  const [match, noneMatch] = [c.req.header("If-Match"), c.req.header("If-None-Match")];
  if (match === undefined && noneMatch === undefined) return undefined;
  if (match === undefined && noneMatch?.trim() === "*") return "absent";
  const [, digest = ""] = /^"(.*)"$/.exec(match?.trim() ?? "") ?? [];
  if (noneMatch === undefined && isDigest(digest)) return { digest };
  const found = [
    ...(match === undefined ? [] : [`If-Match: ${match}`]),
    ...(noneMatch === undefined ? [] : [`If-None-Match: ${noneMatch}`]),
  ].join(" and ");
  const expected = 'expected If-Match: "sha256:…", with its quotes, or If-None-Match: *';
  throw new StowageError("INPUT_INVALID", `Cannot use the condition ${quote(found)}: ${expected}`);
}

/** The Range of a request. Undefined too if If-Range names other content. */
export function rangeHeader(c: Context, digest: Digest): string | undefined {
  const ifRange = c.req.header("If-Range");
  return ifRange === undefined || ifRange === `"${digest}"` ? c.req.header("Range") : undefined;
}

/**
 * Reads a Range header of one range. Undefined means the whole content: without a header, with another unit, with
 * several ranges, or with a malformed range (RFC 9110, section 14.2, allows each). OCI's conformance suite requires an
 * error for a range that ends before it begins.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/i.exec(header?.trim() ?? "");
  const [first = "", last = ""] = match?.slice(1) ?? [];
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start > end ? "unsatisfiable" : { start, end };
}

/** The headers of every answer with a manifest or a blob. */
export function contentHeaders(digest: Digest, length: number): Record<string, string> {
  return { "Content-Length": String(length), ...digestHeaders(digest) };
}

export function notModified(digest: Digest): Response {
  return new Response(null, { status: 304, headers: digestHeaders(digest) });
}

function digestHeaders(digest: Digest): Record<string, string> {
  return { "Docker-Content-Digest": digest, ETag: `"${digest}"` };
}

/** The length of a request's body. Undefined for a body in chunks, or no body. */
export function contentLengthOf(c: Context): number | undefined {
  const header = c.req.header("Content-Length");
  return header !== undefined && /^\d+$/.test(header) ? Number(header) : undefined;
}
