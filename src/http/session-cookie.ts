/**
 * The cookie with the token of a person who has logged in on the page. Registry clients never get one, and `/v2` takes
 * none.
 *
 * Scripts cannot read the cookie (`HttpOnly`), and pages of other sites cannot send it (`SameSite=Strict`). But pages
 * of another port or another host of the same site can make a browser send it. So it counts only for requests that come
 * from the service's own page, or from no page: `Sec-Fetch-Site` or `Origin` tells.
 */
import { Buffer } from "node:buffer";
import type { Context } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { isOwnPage } from "./refuse-pages.ts";
import { isSecure } from "./request-url.ts";

/** A browser keeps a cookie of 4,096 bytes. Base64 makes three bytes four. */
export const maxSessionSecretBytes = 2900;

/** After this time a person logs in again. */
const maxAgeSeconds = 12 * 3600;

/** The secret in the cookie. Undefined too if another page may have made the browser send the request. */
export function readSessionSecret(c: Context): string | undefined {
  const value = getCookie(c, nameFor(c));
  if (value === undefined || value === "" || !mayUseCookie(c)) return undefined;
  return Buffer.from(value, "base64url").toString();
}

/** Reading changes nothing, and other pages cannot read the answer. Browsers without `Sec-Fetch-Site` may read. */
function mayUseCookie(c: Context): boolean {
  const isRead = c.req.method === "GET" || c.req.method === "HEAD";
  return isRead ? /^(?:same-origin|none)$/.test(c.req.header("Sec-Fetch-Site") ?? "none") : isOwnPage(c);
}

export function setSessionCookie(c: Context, secret: string): void {
  setCookie(c, nameFor(c), Buffer.from(secret).toString("base64url"), { ...attributesFor(c), maxAge: maxAgeSeconds });
}

export function clearSessionCookie(c: Context): void {
  deleteCookie(c, nameFor(c), attributesFor(c));
}

export function hasSessionCookie(c: Context): boolean {
  return readSessionSecret(c) !== undefined;
}

/**
 * A cookie with `__Host-` comes from this host by TLS: no other host of the site, and nobody on the network, has set
 * it.
 */
function nameFor(c: Context): string {
  return isSecure(c) ? "__Host-stowage" : "stowage";
}

function attributesFor(c: Context): {
  readonly path: string;
  readonly httpOnly: boolean;
  readonly sameSite: "Strict";
  readonly secure: boolean;
} {
  return { path: "/", httpOnly: true, sameSite: "Strict", secure: isSecure(c) };
}
