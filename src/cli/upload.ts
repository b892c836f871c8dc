/**
 * Sends a tarball to a running service. By `node:http`, not fetch: the service may refuse the archive long before its
 * end, and what it says then is what the user has to see, not that the pipe is broken.
 */
import http, { type ClientRequest, type IncomingMessage } from "node:http";
import https from "node:https";
import { pipeline } from "node:stream/promises";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { StowageError, messageOf } from "../errors.ts";
import type { Receipt } from "../load/receipt.ts";
import { isJsonObject, parseJson } from "../oci/json.ts";
import type { ImageName } from "../oci/reference.ts";
import { parseReceipt } from "./parse-receipt.ts";

/** A receipt has a line for each blob, and an archive at most 100,000 entries. */
const maxAnswerBytes = 64 * 1024 * 1024;
/** Shown of an answer that is not the service's own, such as a proxy's page. */
const maxForeignText = 300;

export interface UploadOptions {
  /** The service's URL; it may have a path. */
  readonly service: URL;
  readonly name: ImageName | undefined;
  /** Length of the body in bytes, where it is known beforehand. */
  readonly size: number | undefined;
  readonly signal: AbortSignal;
}

/**
 * Loads the tarball into the service. Throws `STORE_UNAVAILABLE` with what the service has answered, or that it has not,
 * and the signal's reason.
 */
export async function uploadArchive(source: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<Receipt> {
  const { service, signal } = options;
  const request = openRequest(options);
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("response", resolve).on("error", reject);
  });
  const body = new OutgoingBody(source, options.size);
  const sent = pipeline(body.chunks(), request);
  sent.catch(() => undefined); // the request fails as well, or is answered
  try {
    const response = await answered;
    body.stop();
    return readAnswer(response, await collectAnswer(response), service);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StowageError) throw error;
    throw failed(service, `the connection failed after ${body.sentBytes} bytes were sent: ${describe(error)}`, error);
  } finally {
    request.destroy();
  }
}

/** For messages: its URL, without secrets. */
export function serviceName({ origin, pathname }: URL): string {
  return origin + pathname.replace(/\/+$/, "");
}

function openRequest({ service, name, size, signal }: UploadOptions): ClientRequest {
  const target = name === undefined ? "" : `/${name.repository}${name.tag === undefined ? "" : `:${name.tag}`}`;
  const url = new URL(service);
  url.pathname = `${service.pathname.replace(/\/+$/, "")}/v1/load${target}`;
  const { request } = url.protocol === "https:" ? https : http;
  return request(url, {
    method: "PUT",
    signal,
    headers: { "Content-Type": "application/x-tar", ...(size !== undefined && { "Content-Length": size }) },
  });
}

/** The body, for as long as somebody wants it; neither more nor fewer bytes than were announced. */
class OutgoingBody {
  readonly #source: AsyncIterable<Uint8Array>;
  readonly #size: number | undefined;
  #stopped = false;
  sentBytes = 0;

  constructor(source: AsyncIterable<Uint8Array>, size: number | undefined) {
    this.#source = source;
    this.#size = size;
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#source) {
      await turnOfLoop(); // an answer that has arrived is read first: a write that fails would lose it
      if (this.#stopped) return;
      if (this.#size !== undefined && this.sentBytes + chunk.length > this.#size) throw this.#changed("more bytes");
      yield chunk;
      this.sentBytes += chunk.length;
    }
    if (this.#size !== undefined && this.sentBytes < this.#size) throw this.#changed(`${this.sentBytes} bytes`);
  }

  stop(): void {
    this.#stopped = true;
  }

  #changed(found: string): StowageError {
    const message = `Cannot send the archive: it has changed meanwhile, found ${found}, expected ${this.#size}`;
    return new StowageError("ARCHIVE_INVALID", message);
  }
}

async function collectAnswer(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > maxAnswerBytes) throw new Error(`the answer has more than ${maxAnswerBytes} bytes`);
  }
  return Buffer.concat(chunks);
}

function readAnswer({ statusCode = 0, headers }: IncomingMessage, bytes: Uint8Array, service: URL): Receipt {
  if (statusCode === 200 || statusCode === 201) {
    const receipt = parseReceipt(tryJson(bytes));
    if (receipt !== undefined) return receipt;
    throw failed(service, `it answered ${statusCode} without a receipt: is this a Stowage?`);
  }
  if (statusCode >= 300 && statusCode < 400 && headers.location !== undefined) {
    throw failed(service, `it answered ${statusCode} and points to ${headers.location}: use that address`);
  }
  throw failed(service, `it answered ${statusCode} ${errorText(bytes)}`);
}

/** The messages of an OCI error body, or the beginning of whatever else it is. */
function errorText(bytes: Uint8Array): string {
  const json = tryJson(bytes);
  const errors = isJsonObject(json) && Array.isArray(json["errors"]) ? json["errors"].filter(isJsonObject) : [];
  if (errors.length > 0) return errors.map(({ code, message }) => `${String(code)}: ${String(message)}`).join("\n  ");
  const text = new TextDecoder().decode(bytes).replaceAll(/\s+/g, " ").trim();
  if (text === "") return "and says no more";
  return text.length <= maxForeignText ? text : `${text.slice(0, maxForeignText)}…`;
}

function tryJson(bytes: Uint8Array): unknown {
  try {
    return parseJson(bytes);
  } catch {
    return undefined;
  }
}

function failed(service: URL, reason: string, cause?: unknown): StowageError {
  return new StowageError("STORE_UNAVAILABLE", `Cannot load into ${serviceName(service)}: ${reason}`, { cause });
}

/** Where a name has several addresses, Node's error has no message, only a code. */
function describe(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return messageOf(error) || code;
}
