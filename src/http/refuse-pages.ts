/**
 * Refuses changes that a web page of another site makes a browser send (Fetch Metadata, `Sec-Fetch-Site`; RFC 6454,
 * `Origin`). Such a page needs no answer to do harm: the browser may be on the machine whose service lets anyone in, or
 * may know a password. Clients that are no browsers send neither header.
 */
import type { Context, MiddlewareHandler } from "hono";
import { quote, StowageError } from "../errors.ts";
import { errorResponse } from "./error-response.ts";

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

// Refuses requests for another host than the service's own names. A web page can give its own name the address of this
// machine (DNS rebinding): to the browser the service is then of the page's own site, and nothing but the `Host` of the
// requests tells. Clients that send no `Host` are no browsers.

/** `hosts` are names and addresses without a port, in lower case, an IPv6 address in brackets. */
export function refuseOtherHosts(hosts: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("Host");
    if (host === undefined || host === "" || hosts.includes(nameOf(host))) return next();
    const expected = `expected ${hosts.join(" or ")}; STOWAGE_HOSTS may name others`;
    const message = `Cannot answer for the host ${quote(host, 100)}: ${expected}`;
    const error = new StowageError("DENIED", message, { detail: { expected: hosts } });
    return errorResponse(error, { status: 421 }); // RFC 9110, section 15.5.20: for another service than this one
  };
}

/** Without the port: it says where the service listens, not whose page asks. */
function nameOf(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, "");
}
