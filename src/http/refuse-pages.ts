/**
 * Refuses requests that a web page of another site makes a browser send. The browser may run on the machine of a
 * service without tokens, or may know a password. Clients that are not browsers send neither of the headers
 * `Sec-Fetch-Site` and `Origin`.
 */
import type { Context, MiddlewareHandler } from "hono";
import { quote, StowageError } from "../errors.ts";
import { errorResponse } from "./error-response.ts";

/**
 * Refuses changes by pages of another site (Fetch Metadata; RFC 6454). Such a page can do harm even if it cannot read
 * the answer.
 */
export const refuseCrossSite: MiddlewareHandler = async (c, next) => {
  const isRead = c.req.method === "GET" || c.req.method === "HEAD";
  if (isRead || !isCrossSite(c)) return next();
  throw new StowageError("DENIED", `Cannot ${c.req.method} for a page of another site`);
};

/**
 * Does the request surely come from a page of the service itself? A browser always sends one of the headers with a
 * change. Over plain HTTP, most browsers send only `Origin`.
 */
export function isOwnPage(c: Context): boolean {
  const hasSource = c.req.header("Sec-Fetch-Site") !== undefined || c.req.header("Origin") !== undefined;
  return hasSource && c.req.header("Sec-Fetch-Site") !== "none" && !isCrossSite(c);
}

function isCrossSite(c: Context): boolean {
  const site = c.req.header("Sec-Fetch-Site");
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  const origin = c.req.header("Origin");
  return origin !== undefined && hostOf(origin) !== new URL(c.req.url).host;
}

/** The host of an origin. Undefined for `null`, which a page sends to hide its site. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}

/**
 * Refuses requests for a host that is not a name of the service. A web page can give its own name the address of this
 * machine (DNS rebinding). To the browser, the service is then part of the page's site, and only `Host` shows the
 * attack. Clients without a `Host` are not browsers. `hosts` are names and addresses without a port, in lower case, an
 * IPv6 address in brackets.
 */
export function refuseOtherHosts(hosts: readonly string[]): MiddlewareHandler {
  return async (c, next) => {
    const host = c.req.header("Host");
    if (host === undefined || host === "" || hosts.includes(withoutPort(host))) return next();
    const expected = `expected ${hosts.join(" or ")}; STOWAGE_HOSTS may name others`;
    const message = `Cannot answer for the host ${quote(host, 100)}: ${expected}`;
    const error = new StowageError("DENIED", message, { detail: { expected: hosts } });
    return errorResponse(error, { c, status: 421 }); // Misdirected Request (RFC 9110, section 15.5.20)
  };
}

function withoutPort(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, "");
}
