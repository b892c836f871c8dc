/**
 * Refuses changes that a web page of another site makes a browser send (Fetch Metadata, `Sec-Fetch-Site`; RFC 6454,
 * `Origin`). Such a page needs no answer to do harm: the browser may be on the machine whose service lets anyone in, or
 * may know a password. Clients that are no browsers send neither header.
 */
import type { Context, MiddlewareHandler } from "hono";
import { StowageError } from "../errors.ts";

export const refuseCrossSite: MiddlewareHandler = async (c, next) => {
  const isRead = c.req.method === "GET" || c.req.method === "HEAD";
  if (isRead || !isCrossSite(c)) return next();
  throw new StowageError("DENIED", `Cannot ${c.req.method} for a page of another site`);
};

function isCrossSite(c: Context): boolean {
  const site = c.req.header("Sec-Fetch-Site");
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  const origin = c.req.header("Origin");
  return origin !== undefined && hostOf(origin) !== new URL(c.req.url).host;
}

/** Undefined for `null`, the origin of a page that hides where it comes from. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
