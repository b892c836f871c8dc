/** A request of a function URL, or of an HTTP API, as Lambda hands it over (payload version 2), and the answer as Lambda wants it. */
import { Buffer } from "node:buffer";
import { StowageError, messageOf } from "../errors.ts";
import { errorResponse, withoutStore } from "../http/error-response.ts";
import { type JsonObject, isJsonObject } from "../oci/json.ts";

/** What Stowage reads of it. */
interface HttpEvent {
  readonly method: string;
  readonly url: string;
  readonly headers: JsonObject;
  readonly cookies: readonly string[];
  readonly body: string | undefined;
  readonly isBase64Encoded: boolean;
}

interface AnswerOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>;
  /** Ends the request. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

export interface HttpResult {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: true;
}

/** Undefined for an event of another kind. Throws `TypeError` if it names no method, no path or no host: no client can cause that. */
export function parseHttpEvent(event: unknown): HttpEvent | undefined {
  if (!isJsonObject(event) || !isJsonObject(event["requestContext"]) || !("http" in event["requestContext"])) {
    return undefined;
  }
  const { rawPath, rawQueryString, headers, cookies, body, isBase64Encoded, requestContext } = event;
  const { http, domainName } = requestContext;
  const method = isJsonObject(http) ? http["method"] : undefined;
  const host = domainName ?? (isJsonObject(headers) ? headers["host"] : undefined);
  const query = typeof rawQueryString === "string" && rawQueryString !== "" ? `?${rawQueryString}` : "";
  return {
    method: expectText(method, "requestContext.http.method"),
    url: `https://${expectText(host, "requestContext.domainName")}${expectText(rawPath, "rawPath")}${query}`,
    headers: isJsonObject(headers) ? headers : {},
    cookies: Array.isArray(cookies) ? cookies.map(String) : [],
    body: typeof body === "string" ? body : undefined,
    isBase64Encoded: isBase64Encoded === true,
  };
}

/**
 * Answers a request. One that cannot be read is an error of the client, and the app does not see it. An answer goes out whole:
 * if its bytes cannot be read to their end, an error takes its place.
 */
export async function answerHttpEvent(event: HttpEvent, { fetch, signal, log }: AnswerOptions): Promise<HttpResult> {
  let request: Request;
  try {
    request = requestOf(event, signal);
  } catch (error) {
    const refusal = new StowageError("INPUT_INVALID", `Cannot read the request: ${messageOf(error)}`);
    log(`refused a request before it was read, 400: ${refusal.code}: ${refusal.message}`);
    return resultOf(errorResponse(refusal));
  }
  const response = await fetch(request);
  try {
    return await resultOf(response);
  } catch (error) {
    log(`cannot answer ${event.method} ${new URL(request.url).pathname}: ${messageOf(error)}`);
    return resultOf(errorResponse(error instanceof Error ? withoutStore(error) : error));
  }
}

function requestOf(event: HttpEvent, signal: AbortSignal): Request {
  const { method, url } = event;
  if (!URL.canParse(url)) throw new Error("its host or its path cannot be part of a URL");
  const headers = new Headers();
  for (const [name, value] of Object.entries(event.headers)) {
    if (typeof value === "string") setHeader(headers, name, value);
  }
  if (event.cookies.length > 0) setHeader(headers, "Cookie", event.cookies.join("; "));
  const body = method === "GET" || method === "HEAD" ? undefined : bodyOf(event); // of those two no body means anything
  if (body !== undefined) headers.set("Content-Length", String(body.length));
  return new Request(url, { method, headers, signal, ...(body !== undefined && { body }) });
}

function bodyOf({ body, isBase64Encoded }: HttpEvent): Uint8Array<ArrayBuffer> | undefined {
  if (body === undefined || body === "") return undefined;
  if (!isBase64Encoded) return new TextEncoder().encode(body);
  // `Buffer` would pass over what is none.
  if (body.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(body)) return new Uint8Array(Buffer.from(body, "base64"));
  throw new Error("its body is not base64");
}

/** Lambda hands over text, headers take bytes. What cannot be one is named, and not shown: it may be a secret. */
function setHeader(headers: Headers, name: string, value: string): void {
  try {
    headers.set(name, /[^\0-\xff]/.test(value) ? encodeURIComponent(value) : value);
  } catch {
    throw new Error(`its header ${JSON.stringify(name)} cannot be used`);
  }
}

async function resultOf(response: Response): Promise<HttpResult> {
  return {
    statusCode: response.status,
    headers: Object.fromEntries(response.headers),
    body: Buffer.from(await response.arrayBuffer()).toString("base64"),
    isBase64Encoded: true,
  };
}

function expectText(value: unknown, name: string): string {
  if (typeof value === "string" && value !== "") return value;
  throw new TypeError(`Cannot take the event: expected text for ${name}, found ${JSON.stringify(value)}`);
}
