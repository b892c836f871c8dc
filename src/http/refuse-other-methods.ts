/** Answers a method that a route does not have with 405 and those that it has (RFC 9110, section 15.5.6). */
import type { Hono } from "hono";
import { StowageError } from "../errors.ts";
import { errorResponse } from "./error-response.ts";

/** Goes by the routes that the app has by now: they stay the only list of what there is. */
export function refuseOtherMethods(app: Hono): void {
  const methodsByPath = new Map<string, Set<string>>();
  for (const { path, method } of app.routes) {
    if (method === "ALL") continue; // no route, but what runs before all of them
    const methods = methodsByPath.get(path) ?? new Set();
    methods.add(method);
    if (method === "GET") methods.add("HEAD");
    methodsByPath.set(path, methods);
  }
  for (const [path, methods] of methodsByPath) {
    const allowed = [...methods].join(", ");
    app.all(path, (c) => {
      const message = `Cannot ${c.req.method} ${new URL(c.req.url).pathname}: expected ${[...methods].join(" or ")}`;
      return errorResponse(new StowageError("UNSUPPORTED", message), { status: 405, headers: { Allow: allowed } });
    });
  }
}
