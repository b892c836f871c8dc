/**
 * Refuses requests for another host than the service's own names. A web page can give its own name the address of this
 * machine (DNS rebinding): to the browser the service is then of the page's own site, and nothing but the `Host` of the
 * requests tells. Clients that send no `Host` are no browsers.
 */
import type { MiddlewareHandler } from "hono";
import { StowageError, quote } from "../errors.ts";
import { errorResponse } from "./error-response.ts";

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
