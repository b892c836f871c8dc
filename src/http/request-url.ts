/** The URL of a request, as its client has it. */
import type { Context } from "hono";
import { quote, StowageError } from "../errors.ts";

/** Characters of a path in a message. */
const maxShown = 300;

/** The path for a message, as it was sent. `c.req.path` is decoded. */
export function pathOf(c: Context): string {
  const { pathname } = new URL(c.req.url);
  return pathname.length <= maxShown ? pathname : `${pathname.slice(0, maxShown)}…`;
}

/** The URL without the last `segments` of its path. It also works for clients behind a proxy that speaks TLS. */
export function urlAbove(c: Context, segments: number): string {
  const url = new URL(c.req.url);
  const forwarded = c.req.header("X-Forwarded-Proto")?.split(",", 1)[0]?.trim();
  const protocol = forwarded === "http" || forwarded === "https" ? `${forwarded}:` : url.protocol;
  return `${protocol}//${url.host}${pathAbove(c, segments)}`;
}

/** The path of the URL without its last `segments`. `c.req.path` is decoded, and an app around this one can change it. */
export function pathAbove(c: Context, segments: number): string {
  const parts = new URL(c.req.url).pathname.split("/");
  return parts.slice(0, parts.length - segments).join("/");
}

/** The Link from one page of a list to the next (RFC 8288; distribution specification, "Pagination"). */
export function nextLink(c: Context, query: Readonly<Record<string, string>>): { readonly Link: string } {
  const path = pathAbove(c, 0);
  const parameters = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return { Link: `<${path}?${parameters.join("&")}>; rel="next"` };
}

/** A parameter of the query that is `true` or `false`. False without the parameter. Throws `INPUT_INVALID`. */
export function readFlag(c: Context, name: string): boolean {
  const text = c.req.query(name) ?? "false";
  if (text === "true" || text === "false") return text === "true";
  throw new StowageError("INPUT_INVALID", `Cannot use ${name}=${quote(text, 100)}: expected true or false`);
}
