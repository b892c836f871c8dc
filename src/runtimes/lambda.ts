/**
 * The service on AWS Lambda. One handler answers the requests of a function URL (or an HTTP API, payload version 2),
 * loads the tarballs that events of the bucket name, and collects garbage.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { messageOf, StowageError } from "../errors.ts";
import { type Report, notice } from "../events.ts";
import { errorResponse, withoutStore } from "../http/error-response.ts";
import { type JsonObject, isJsonObject } from "../oci/json.ts";
import { type OpenedApp, openApp } from "../open-app.ts";
import { loadS3Events, writtenObjects } from "./s3-events.ts";
import { triggerGc } from "./trigger-gc.ts";

/** Lambda's limit of 6 MiB for a request, and for an answer. Both are JSON with the body in base64. */
const maxEventBytes = 6 * 1024 * 1024;
/** Kept free for the request's line and headers. An event has some headers twice. */
const envelopeBytes = 64 * 1024;

const platform = {
  isReachable: true,
  ignores: ["HOST", "PORT", "STOWAGE_STOP_SECONDS", "STOWAGE_CHECK_STORE", "STOWAGE_METRICS"],
  maxRequestBytes: bytesInBase64(maxEventBytes - envelopeBytes),
  maxResponseBytes: bytesInBase64(maxEventBytes),
  write: (line: string): void => void process.stdout.write(`${line}\n`),
};

/** Work ends this long before Lambda would kill it. So it can clean up. */
const cleanUpMs = 5000;

/**
 * A slice of gc ends this long before Lambda would kill it: it finishes what it has started, and saves what the next
 * slice needs.
 */
const saveMs = 60_000;

/** The part of Lambda's context that Stowage uses. */
interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

interface OpenedService extends OpenedApp {
  readonly ending: AbortController;
}

let opened: Promise<OpenedService> | undefined;

/**
 * The entry of the function. Throws for settings that cannot be used, and for loads that can succeed later: Lambda then
 * sends the event again.
 */
export async function handler(event: unknown, context: LambdaContext): Promise<unknown> {
  const service = await (opened ??= open());
  const left = context.getRemainingTimeInMillis();
  const timer = setTimeout(() => end(service), Math.max(left - cleanUpMs, left / 2));
  try {
    const objects = writtenObjects(event);
    if (objects !== undefined) {
      await loadS3Events(objects, service, service.report, service.ending.signal);
      return undefined;
    }
    if (isGcEvent(event)) {
      const maxMs = Math.max(left - saveMs, left / 2);
      await triggerGc(service, { maxMs, signal: service.ending.signal }, service.report);
      return undefined;
    }
    const request = parseHttpEvent(event);
    if (request !== undefined) {
      // Each request has a signal of its own, so that its listeners are freed with it.
      const signal = AbortSignal.any([service.ending.signal]);
      return await answerHttpEvent(request, (asked) => service.app.fetch(asked), service.report, signal);
    }
    // Only names of fields are shown: the headers of a request hold secrets.
    const found = isJsonObject(event) ? Object.keys(event).join(", ") : typeof event;
    throw new TypeError(
      `Cannot take the event: expected a request of payload version 2, S3's event, or {"stowage":"gc"}, found ${found}`,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Runs once for each cold start. If settings cannot be used, the next event tries again. */
async function open(): Promise<OpenedService> {
  const ending = new AbortController();
  try {
    return { ...(await openApp(process.env, { ...platform, signal: ending.signal })), ending };
  } catch (error) {
    opened = undefined;
    throw error;
  }
}

/** A signal cannot fire twice, so the next event opens another service. */
function end({ ending }: OpenedService): void {
  opened = undefined;
  ending.abort(new StowageError("INTERRUPTED", "Cannot finish: the function's time is over"));
}

/** The constant input of the EventBridge rule that triggers gc. */
function isGcEvent(event: unknown): boolean {
  return isJsonObject(event) && event["stowage"] === "gc";
}

function bytesInBase64(length: number): number {
  return Math.floor(length / 4) * 3;
}

/** The part of a request in payload version 2 that Stowage reads. */
interface HttpEvent {
  readonly method: string;
  readonly url: string;
  readonly headers: JsonObject;
  readonly cookies: readonly string[];
  readonly body: string | undefined;
  readonly isBase64Encoded: boolean;
}

/** An answer as Lambda takes it. */
export interface HttpResult {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: true;
}

/**
 * Reads a request. Undefined for an event of another kind. Throws `TypeError` if a method, path or host is missing: no
 * client can cause that.
 */
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
 * Answers a request. If the request cannot be read, the client gets an error and the app does not see it. If the
 * answer's bytes cannot be read to their end, an error takes the answer's place. `signal` ends the request.
 */
export async function answerHttpEvent(
  event: HttpEvent,
  fetch: (request: Request) => Response | Promise<Response>,
  report: Report,
  signal: AbortSignal,
): Promise<HttpResult> {
  let request: Request;
  try {
    request = requestOf(event, signal);
  } catch (error) {
    const refusal = new StowageError("INPUT_INVALID", `Cannot read the request: ${messageOf(error)}`);
    report({ event: "unread", status: 400, code: refusal.code, message: refusal.message });
    return resultOf(errorResponse(refusal));
  }
  const response = await fetch(request);
  try {
    return await resultOf(response);
  } catch (error) {
    const { pathname } = new URL(request.url);
    report(notice("error", `cannot answer ${event.method} ${pathname}: ${messageOf(error)}`));
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
  const body = method === "GET" || method === "HEAD" ? undefined : decodeBody(event); // a body of these two has no meaning
  if (body !== undefined) headers.set("Content-Length", String(body.length));
  return new Request(url, { method, headers, signal, ...(body !== undefined && { body }) });
}

function decodeBody({ body, isBase64Encoded }: HttpEvent): Uint8Array<ArrayBuffer> | undefined {
  if (body === undefined || body === "") return undefined;
  if (!isBase64Encoded) return new TextEncoder().encode(body);
  // `Buffer` would skip characters that are not base64.
  if (body.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(body)) return new Uint8Array(Buffer.from(body, "base64"));
  throw new Error("its body is not base64");
}

/**
 * Sets a header. Lambda has text, and a header is made of bytes. The error does not show a bad value: it may be a
 * secret.
 */
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
