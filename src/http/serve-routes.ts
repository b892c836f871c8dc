/** Finds the route of a request. A middleware of `authentication.ts` has found the caller before. */
import type { Context, Hono, Next } from "hono";
import { tryDecodeURIComponent } from "hono/utils/url";
import { limitExceeded, quote, StowageError } from "../errors.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import { parseRepositoryName } from "../oci/reference.ts";
import { authorize, authorizeAnything, isAllowed, refuseAnonymous } from "./authentication.ts";
import { errorResponse } from "./error-response.ts";
import { RequestRecord } from "./request-record.ts";
import { pathOf } from "./request-url.ts";
import { type Parameters, type Route, parametersOf } from "./route.ts";

/**
 * Characters of a path below `/v1` or `/v2`, and of a query. The longest useful path has a name of 255 characters and a
 * digest of 135. The longest useful query has a media type of 255 characters and a digest. An encoded character counts
 * as three.
 */
const maxPathLength = 2048;
const maxQueryLength = 4096;

/** Hono's parameter for the rest of the path. The name keeps it apart from parameters of an app around this one. */
const rest = "stowagePath";

/**
 * Serves the routes. They are grouped by their first segment, such as `v2`. The route for `/` has none. A request for
 * any other path goes on to the next handler of the app.
 */
export function serveRoutes(app: Hono, routes: readonly Route[]): void {
  for (const prefix of new Set(routes.map(({ segments: [first = ""] }) => first))) {
    const own = routes.filter(({ segments: [first] }) => first === prefix);
    const answerAt = async (c: Context, next: Next, path: string | undefined): Promise<Response | undefined> => {
      const { search } = new URL(c.req.url);
      if (path !== undefined && path.length > maxPathLength) return tooLong(c, "path", path.length, maxPathLength);
      if (search.length > maxQueryLength) return tooLong(c, "query", search.length, maxQueryLength);
      const segments = [prefix, ...(path?.split("/") ?? [])];
      const found = own.flatMap((route) => {
        const parameters = parametersOf(route, segments);
        return parameters === undefined ? [] : [{ route, parameters }];
      });
      if (found.length === 0) {
        await next();
        return undefined;
      }
      const method = c.req.method === "HEAD" ? "GET" : c.req.method;
      const chosen = found.find(({ route }) => route.methods.includes(method));
      if (chosen !== undefined) return answerRoute(c, chosen.route, chosen.parameters);
      return refuseMethod(
        c,
        found.map(({ route }) => route),
      );
    };
    if (own.some(({ segments: { length } }) => length === 1)) {
      app.all(`/${prefix}`, async (c, next) => answerAt(c, next, undefined)); // `/` too
    }
    if (prefix === "") continue;
    const answer = async (c: Context, next: Next): Promise<Response | undefined> => answerAt(c, next, restOf(c));
    app.all(`/${prefix}/`, answer);
    app.all(`/${prefix}/:${rest}{[^]+}`, answer);
  }
}

/**
 * The path behind `/v1/` or `/v2/`, still encoded. Hono returns the path decoded, and an encoded slash in a name then
 * looks like any other slash. So this function takes segments from the end of the encoded path, until their decoded
 * length is the length of Hono's path.
 */
function restOf(c: Context): string {
  const decoded: string = c.req.param(rest) ?? "";
  const { path } = c.req;
  if (decoded === "" || !path.includes("%")) return decoded;
  let start = path.length + 1;
  for (let length = -1; length < decoded.length && start > 0;) {
    const end = start - 1;
    start = path.lastIndexOf("/", end - 1) + 1;
    length += 1 + tryDecodeURIComponent(path.slice(start, end)).length;
  }
  return path.slice(start);
}

/**
 * Checks, in this order: whether a caller without a token may do this at all, the query, the name, and whether the
 * caller may do this with the name.
 */
async function answerRoute(c: Context, route: Route, encoded: Parameters): Promise<Response> {
  const { needs, headAlsoFor } = route;
  const record = RequestRecord.of(c);
  if (record !== undefined) record.route = route.path;
  if (needs === "anything") authorizeAnything(c);
  else if (needs !== "nothing") refuseAnonymous(c, needs);
  checkQuery(c, route);
  const decoded = Object.entries(encoded).map(([name, value]) => [name, tryDecodeURIComponent(value)] as const);
  const { name, image, ...others } = Object.fromEntries(decoded);
  const repository = name === undefined ? undefined : parseRepositoryName(name);
  const asked = image === undefined ? repository : parseLoadPath(image)?.repository;
  if (record !== undefined) record.repository = asked;
  const mayAsk = c.req.method === "HEAD" && headAlsoFor !== undefined && isAllowed(c, headAlsoFor, asked);
  if (needs !== "anything" && needs !== "nothing" && !mayAsk) authorize(c, needs, asked);
  return route.answer(c, {
    ...others,
    ...(repository !== undefined && { name: repository }),
    ...(image !== undefined && { image }),
  });
}

/** Stowage's own routes refuse unknown parameters. Below `/v2`, other clients may send more parameters. */
function checkQuery(c: Context, { path, query }: Route): void {
  if (path.startsWith("/v2/")) return;
  const unknown = [...new URL(c.req.url).searchParams.keys()].find((key) => !query.includes(key));
  if (unknown === undefined) return;
  const expected = query.length === 0 ? "expected none" : `expected ${query.join(" or ")}`;
  throw new StowageError("INPUT_INVALID", `Cannot use the query parameter ${quote(unknown, 100)}: ${expected}`);
}

function refuseMethod(c: Context, routes: readonly Route[]): Response {
  authorizeAnything(c);
  return methodNotAllowed(c, [...new Set(routes.flatMap(({ methods }) => methods))]);
}

/** A 405 with the methods that the path has (RFC 9110, section 15.5.6). */
export function methodNotAllowed(c: Context, methods: readonly string[]): Response {
  const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  const message = `Cannot ${c.req.method} ${pathOf(c)}: expected ${allowed.join(" or ")}`;
  const headers = { Allow: allowed.join(", ") };
  return errorResponse(new StowageError("UNSUPPORTED", message), { c, status: 405, headers });
}

function tooLong(c: Context, what: string, found: number, expected: number): Response {
  authorizeAnything(c);
  const problem = `Cannot ${c.req.method} ${pathOf(c)}: the ${what} has ${found} characters`;
  return errorResponse(limitExceeded(problem, { found, expected }), { c, status: 414 });
}
