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

/**
 * The host and port of the service, or of the proxy in front of it, as the client has them. Some proxies, such as
 * CloudFront, must send a `Host` of their own to the service. They put the `Host` of the client into
 * `X-Forwarded-Host`. A client that sends this header itself changes only its own answer.
 */
export function publicHost(c: Context): string {
  const forwarded = c.req.header("X-Forwarded-Host")?.split(",", 1)[0]?.trim() ?? "";
  return isHost(forwarded) ? forwarded : new URL(c.req.url).host;
}

/** Is the text only a host and a port? People copy pull commands into shells, so nothing else may be in it. */
function isHost(text: string): boolean {
  return /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i.test(text);
}

/** The URL without the last `segments` of its path. It also works for clients behind a proxy that speaks TLS. */
export function urlAbove(c: Context, segments: number): string {
  return `${protocolOf(c)}//${publicHost(c)}${pathAbove(c, segments)}`;
}

/** Does the client use TLS, to the service or to a proxy in front of it? */
export function isSecure(c: Context): boolean {
  return protocolOf(c) === "https:";
}

/** `https:` or `http:`, as the client has it. */
export function protocolOf(c: Context): string {
  const forwarded = c.req.header("X-Forwarded-Proto")?.split(",", 1)[0]?.trim();
  return forwarded === "http" || forwarded === "https" ? `${forwarded}:` : new URL(c.req.url).protocol;
}

/**
 * The path of the URL without its last `segments`. `c.req.path` is decoded, and an app around this one can change it.
 */
export function pathAbove(c: Context, segments: number): string {
  const parts = new URL(c.req.url).pathname.split("/");
  return parts.slice(0, parts.length - segments).join("/");
}

/** The Link from one page of a list to the next (RFC 8288; distribution specification, "Listing Tags"). */
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

/** A parameter of the query that is a whole number. Undefined without the parameter. Throws `INPUT_INVALID`. */
export function readCount(c: Context, name: string): number | undefined {
  const text = c.req.query(name);
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new StowageError("INPUT_INVALID", `Cannot use ${name}=${quote(text, 100)}: expected a whole number`);
}
