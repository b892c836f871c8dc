/** `GET /openapi.json`: a description of all routes, for programs. It has no secrets, so anyone may read it. */
import { Buffer } from "node:buffer";
import type { Context } from "hono";
import { pathAbove } from "../request-url.ts";
import type { Route } from "../route.ts";

/** The description is made at the first request, so that it does not slow down a start. */
export function openApiRoute(routes: readonly Route[]): (c: Context) => Promise<Response> {
  let known: { readonly path: string; readonly bytes: Uint8Array<ArrayBuffer> } | undefined;
  return async (c) => {
    // An app in another app has another path in front.
    const path = pathAbove(c, 1);
    if (known?.path !== path) {
      const { describeRoutes } = await import("./describe-routes.ts");
      const document = { ...describeRoutes(routes), servers: [{ url: path === "" ? "/" : path }] };
      known = { path, bytes: new Uint8Array(Buffer.from(`${JSON.stringify(document)}\n`)) };
    }
    return new Response(known.bytes, { headers: { "Content-Type": "application/json" } });
  };
}
