/** An error as a page. */
import type { Context } from "hono";
import { isJsonObject } from "../oci/json.ts";
import { htmlHeaders, renderPage } from "./frame.tsx";

/**
 * Makes a page of the JSON that the request was answered with. That text was made for this caller: for one without a
 * token, it says nothing about the store.
 */
export async function renderError(c: Context): Promise<Response> {
  const { status } = c.res;
  const { code, message } = firstError(await c.res.json());
  const id = c.res.headers.get("X-Request-Id"); // it leads to the line of the log
  const retryAfter = c.res.headers.get("Retry-After");
  const html = renderPage(c, {
    title: titles[status] ?? "Something went wrong",
    body: ({ base }) => (
      <section class="narrow">
        <h1>{titles[status] ?? "Something went wrong"}</h1>
        <p>{message}</p>
        <p class="muted">
          Status {status}, code {code}
          {id !== null && (
            <>
              <br />
              Request <code>{id}</code>
            </>
          )}
        </p>
        <a class="button" href={`${base}/`}>
          All repositories
        </a>
      </section>
    ),
  });
  const headers = { ...htmlHeaders(), ...(retryAfter !== null && { "Retry-After": retryAfter }) };
  return new Response(html, { status, headers });
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
