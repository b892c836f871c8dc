/**
 * Makes the OpenAPI document. Paths, methods, query parameters and rights come from the routes themselves. The files
 * beside this one say the rest.
 */
import type { JsonObject } from "../../oci/json.ts";
import { statusOf } from "../error-response.ts";
import type { Route } from "../route.ts";
import { errorMeanings } from "./error-meanings.ts";
import type { Answer, Operation, OperationError } from "./operation.ts";
import { ownOperations, publicOperations } from "./own-operations.ts";
import { answerHeaders, headerParameters, placeholders } from "./parameters.ts";
import { registryOperations } from "./registry-operations.ts";
import { schemas } from "./schemas.ts";

type DescribedRoute = Pick<Route, "methods" | "path" | "needs" | "headAlsoFor" | "query">;

type ErrorName = keyof typeof errorMeanings;

/** What each route with a token can answer. */
const commonErrors: readonly OperationError[] = [
  "UNAUTHORIZED",
  "DENIED",
  { code: "LIMIT_EXCEEDED", status: 414 },
  { code: "DENIED", status: 421 },
  "TOOMANYREQUESTS",
  "INTERRUPTED",
  "ISSUER_UNAVAILABLE",
  "STORE_DAMAGED",
  "STORE_UNAVAILABLE",
];

/** Statuses with `Retry-After`, in each answer or in some. */
const retryAfter: Readonly<Record<number, string>> = {
  408: "Retry-After",
  429: "Retry-After",
  502: "Retry-After",
  503: "Retry-After?",
};

const description = `\
Stowage turns an S3 bucket into an OCI image store that takes tarballs.

A token is shown as Bearer, or as the password of any user. The actions after a security scheme are those that the token must allow
for the repository. A service can be open to callers without a token, for pulls or for everything.

Each answer to a route with a token has \`X-Request-Id\`, the id of the request in the log: that of the client, or a new one.

Below \`/v1\`, an unknown query parameter is an error. A path that is not here gets 404, and a method that is not here 405 with
\`Allow\`. The page for people, \`/\` and \`/-/…\`, is not described.`;

/** The document for these routes, without `servers`. Throws if a route has no operation. */
export function describeRoutes(routes: readonly Route[]): JsonObject {
  const open = Object.keys(publicOperations).map((key): DescribedRoute => {
    const [method = "", path = ""] = key.split(" ");
    return { methods: [method], path, needs: "nothing", query: [] };
  });
  const responses = new Map<string, JsonObject>();
  const paths: Record<string, JsonObject> = {};
  for (const route of [...routes, ...open]) {
    const path = route.path.replaceAll("<", "{").replaceAll(">", "}");
    paths[path] = { ...paths[path], ...describeMethods(route, responses) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Stowage", version: "1", description, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    paths,
    components: {
      schemas,
      responses: Object.fromEntries(responses),
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "A token, or an identity token of a CI system." },
        basic: { type: "http", scheme: "basic", description: "The token is the password. The user may be any text." },
      },
    },
  };
}

function describeMethods(route: DescribedRoute, responses: Map<string, JsonObject>): JsonObject {
  const parameters = [...route.path.matchAll(/<(\w+)>/g)].map(([, name = ""]) => {
    return { name, in: "path", required: true, ...known(placeholders, name) };
  });
  const methods = route.methods.flatMap((method) => {
    const operation = operationOf(`${method} ${route.path}`);
    const described = describeOperation(route, method, operation, responses);
    if (method !== "GET") return [[method.toLowerCase(), described] as const];
    const head = { ...operation, id: `${operation.id}Head`, summary: `As GET, without the body.` };
    return [
      ["get", described] as const,
      ["head", describeOperation(route, "HEAD", { ...head, answers: withoutContent(operation) }, responses)] as const,
    ];
  });
  return { ...(parameters.length > 0 && { parameters }), ...Object.fromEntries(methods) };
}

function operationOf(key: string): Operation {
  return known({ ...ownOperations, ...registryOperations, ...publicOperations }, key);
}

function withoutContent({ answers }: Operation): Operation["answers"] {
  return Object.fromEntries(
    Object.entries(answers).map(([status, answer]) => [status, { ...answer, content: undefined }] as const),
  );
}

function describeOperation(
  route: DescribedRoute,
  method: string,
  { id, summary, description: more, headers = [], query = {}, body, answers, errors = [] }: Operation,
  responses: Map<string, JsonObject>,
): JsonObject {
  const isPublic = `${method === "HEAD" ? "GET" : method} ${route.path}` in publicOperations;
  const parameters = [
    ...route.query.map((name) => ({ name, in: "query", ...known(query, name) })),
    ...headers.map((name) => ({ name: name.replace(/ .*$/, ""), in: "header", ...known(headerParameters, name) })),
  ];
  const failures = [...errors, ...(isPublic ? [] : commonErrors)];
  return {
    operationId: id,
    summary,
    ...(more !== undefined && { description: more }),
    tags: [route.path.startsWith("/v2/") ? "registry" : route.path.startsWith("/v1/") ? "tarballs" : "service"],
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && { requestBody: { ...body, content: contentOf(body.content) } }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, describeAnswer(answer)])),
      ...describeErrors(failures, method === "HEAD", responses),
    },
    security: securityOf(route, method),
  };
}

/** The actions, as roles of both schemes. */
function securityOf({ needs, headAlsoFor }: DescribedRoute, method: string): JsonObject[] {
  if (needs === "nothing") return [];
  const actions = needs === "anything" ? [] : [needs];
  const sets = [actions, ...(method === "HEAD" && headAlsoFor !== undefined ? [[headAlsoFor]] : [])];
  return sets.flatMap((roles) => [{ bearer: roles }, { basic: roles }]);
}

function describeAnswer({ description: text, headers = [], content }: Answer): JsonObject {
  return {
    description: text,
    ...(headers.length > 0 && { headers: Object.fromEntries(headers.map(describeHeader)) }),
    ...(content !== undefined && { content: contentOf(content) }),
  };
}

function describeHeader(named: string): readonly [string, JsonObject] {
  const name = named.replace(/\?$/, "");
  return [name, { ...known(answerHeaders, name), required: named === name }];
}

function contentOf(content: Readonly<Record<string, JsonObject>>): JsonObject {
  return Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema }]));
}

/** The errors by status. Equal sets of codes share one response of `components`. */
function describeErrors(
  errors: readonly OperationError[],
  isHead: boolean,
  responses: Map<string, JsonObject>,
): JsonObject {
  const codes = new Map<number, Set<ErrorName>>([[500, new Set<ErrorName>(["UNKNOWN"])]]);
  for (const error of errors) {
    const { code, status } = typeof error === "string" ? { code: error, status: statusOf[error] } : error;
    codes.set(status, (codes.get(status) ?? new Set<ErrorName>()).add(code));
  }
  return Object.fromEntries(
    [...codes].map(([status, set]) => {
      const names = [...set].toSorted();
      const id = [status, ...names, ...(isHead ? ["HEAD"] : [])].join(".");
      responses.set(id, describeError(status, names, isHead));
      return [status, { $ref: `#/components/responses/${id}` }];
    }),
  );
}

function describeError(status: number, names: readonly ErrorName[], isHead: boolean): JsonObject {
  const headers = [retryAfter[status], status === 401 ? "WWW-Authenticate" : undefined].filter(
    (it) => it !== undefined,
  );
  const errors = { items: { properties: { code: { enum: names } } } };
  const content = { $ref: "#/components/schemas/Errors", properties: { errors } };
  return describeAnswer({
    description: names.map((name) => `\`${name}\`: ${errorMeanings[name]}.`).join(" "),
    headers,
    ...(!isHead && { content: { "application/json": content } }),
  });
}

function known<T>(values: Readonly<Record<string, T>>, name: string): T {
  const value = values[name];
  if (value !== undefined) return value;
  throw new TypeError(`expected a description of ${name}`);
}
