/** The Link from one page of a list to the next (RFC 8288; distribution specification, "Pagination"). */
import type { Context } from "hono";

export function nextLink(c: Context, query: Readonly<Record<string, string>>): { readonly Link: string } {
  const path = new URL(c.req.url).pathname; // `c.req.path` is decoded, and an outer app may have put the host into it
  const parameters = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return { Link: `<${path}?${parameters.join("&")}>; rel="next"` };
}
