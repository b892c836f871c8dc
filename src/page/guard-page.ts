/** Runs around each request for the page: headers that protect people, and errors as pages. */
import type { Context, MiddlewareHandler } from "hono";
import { isSecure } from "../http/request-url.ts";
import { baseOf } from "./view.ts";

/** At the root, only browsers get the page. Other clients get the answer that they get without the page. */
export const guardPage: MiddlewareHandler = async (c, next) => {
  const { pathname, search } = new URL(c.req.url);
  const isRead = c.req.method === "GET" || c.req.method === "HEAD";
  const isBrowser = /\btext\/html\b/i.test(c.req.header("Accept") ?? "");
  if (!pathname.includes("/-/") && !(isRead && isBrowser)) return c.notFound();
  await next();
  const { status } = c.res;
  if (status === 401 && isRead) {
    const location = `${baseOf(c)}/-/login?to=${encodeURIComponent(pathname + search)}`;
    replace(c, new Response(null, { status: 303, headers: { Location: location, "Cache-Control": "no-store" } }));
  } else if (status >= 400 && c.res.headers.get("Content-Type") === "application/json") {
    const { renderError } = await import("./error-page.tsx");
    replace(c, await renderError(c));
  }
  c.header("X-Content-Type-Options", "nosniff");
  // With `no-referrer`, browsers would hide the origin of the page's own forms: see `refuse-pages.ts`.
  c.header("Referrer-Policy", "same-origin");
  if (isSecure(c)) c.header("Cross-Origin-Opener-Policy", "same-origin"); // without TLS, browsers warn of it
  c.header("Cross-Origin-Resource-Policy", "same-origin");
  return undefined;
};

/**
 * Keeps only the id of the request. Hono would otherwise keep all headers of the answer before, such as the one that
 * makes a browser ask for a password.
 */
function replace(c: Context, response: Response): void {
  const id = c.res.headers.get("X-Request-Id");
  c.res = undefined;
  c.res = response;
  if (id !== null) c.header("X-Request-Id", id);
}
