/** Runs around each request for the page: headers that protect people, and errors as pages. */
import type { Context, MiddlewareHandler } from "hono";
import { isJsonObject } from "../oci/json.ts";
import { htmlHeaders, renderPage } from "./frame.tsx";
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
    await showError(c, status);
  }
  c.header("X-Content-Type-Options", "nosniff");
  // With `no-referrer`, browsers would hide the origin of the page's own forms: see `refuse-pages.ts`.
  c.header("Referrer-Policy", "same-origin");
  c.header("Cross-Origin-Opener-Policy", "same-origin");
  c.header("Cross-Origin-Resource-Policy", "same-origin");
  return undefined;
};

/** The error's text was made for this caller: for one without a token, it says nothing about the store. */
async function showError(c: Context, status: number): Promise<void> {
  const { code, message } = firstError(await c.res.json());
  const retryAfter = c.res.headers.get("Retry-After");
  const html = renderPage(c, {
    title: titles[status] ?? "Something went wrong",
    body: ({ base }) => (
      <section class="error">
        <h1>{titles[status] ?? "Something went wrong"}</h1>
        <p>{message}</p>
        <p class="muted">
          Status {status}, code {code}
        </p>
        <p>
          <a href={`${base}/`}>All images</a>
        </p>
      </section>
    ),
  });
  const headers = { ...htmlHeaders(), ...(retryAfter !== null && { "Retry-After": retryAfter }) };
  replace(c, new Response(html, { status, headers }));
}

/** Hono would otherwise keep headers of the answer before, such as the one that makes a browser ask for a password. */
function replace(c: Context, response: Response): void {
  c.res = undefined;
  c.res = response;
}

const titles: Readonly<Record<number, string>> = {
  401: "Log in first",
  403: "Not allowed",
  404: "Not found",
  405: "Not possible here",
  409: "Not possible now",
  412: "It has changed meanwhile",
  421: "Wrong address",
  429: "Too many requests",
};

function firstError(json: unknown): { readonly code: string; readonly message: string } {
  const errors: unknown = isJsonObject(json) ? json["errors"] : undefined;
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  if (!isJsonObject(first)) return { code: "UNKNOWN", message: "The service failed; its log says why" };
  return { code: String(first["code"]), message: String(first["message"]) };
}
