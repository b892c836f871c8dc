/** A running Stowage, as the command line sees it: its URL, the token for it, and what its answers mean. */
import { StowageError, type StowageErrorOptions } from "../../errors.ts";
import type { Receipt } from "../../load/receipt.ts";
import { type JsonObject, isJsonObject, parseJson } from "../../oci/json.ts";
import type { ImageName } from "../../oci/reference.ts";
import { parseReceipt } from "../parse-receipt.ts";
import { type Answer, type ExchangeOptions, NoAnswer, type RequestBody, exchange } from "./exchange.ts";

/** Shown of an answer that is not the service's own, such as a proxy's page. */
const maxForeignText = 300;

/** A load says nothing until all of it is stored, which takes a while for a large one. */
const loadTimeoutMs = 30 * 60_000;

export interface AskOptions extends Pick<ExchangeOptions, "method" | "body" | "timeoutMs" | "signal"> {
  /** Sent as the body. */
  readonly json?: JsonObject;
}

export interface LoadRequest {
  readonly name: ImageName | undefined;
  readonly signal: AbortSignal;
}

export class ServiceClient {
  /** For messages: its URL, without secrets. */
  readonly name: string;
  /** Host and port where the images can be pulled from; clients look for `/v2/` at the root alone. */
  readonly registry: string | undefined;
  readonly #url: URL;
  readonly #token: string | undefined;

  /** The URL may have a path. */
  constructor(url: URL, token: string | undefined) {
    this.name = url.origin + url.pathname.replace(/\/+$/, "");
    this.registry = url.pathname === "/" ? url.host : undefined;
    this.#url = new URL(this.name);
    this.#token = token;
  }

  /** Asks for a path below the service's URL, such as `v1/load`, showing the token. Throws if there is no answer. */
  async ask(path: string, { json, ...options }: AskOptions): Promise<Answer> {
    const url = new URL(this.#url);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`;
    const body = json === undefined ? options.body : jsonBody(json);
    const type = json === undefined ? "application/x-tar" : "application/json";
    return exchange(url, {
      ...options,
      body,
      headers: {
        ...(body !== undefined && { "Content-Type": type }),
        ...(this.#token !== undefined && { Authorization: `Bearer ${this.#token}` }),
      },
    });
  }

  /** Sends a tarball by one request; the caller reads the answer. */
  async put(body: RequestBody, { name, signal }: LoadRequest): Promise<Answer> {
    return this.ask(`v1/load${pathOf(name)}`, { method: "PUT", body, signal, timeoutMs: loadTimeoutMs });
  }

  /** Asks for the load of what lies in the service already; the caller reads the answer. */
  async loadUpload(id: string, { name, signal }: LoadRequest): Promise<Answer> {
    return this.ask(`v1/uploads/${id}/load${pathOf(name)}`, { method: "POST", signal, timeoutMs: loadTimeoutMs });
  }

  /** Throws `STORE_UNAVAILABLE` unless the answer is a receipt. */
  readReceipt(answer: Answer): Receipt {
    const receipt = isSuccess(answer) ? parseReceipt(jsonOf(answer)) : undefined;
    if (receipt !== undefined) return receipt;
    throw isSuccess(answer)
      ? this.failed(`it answered ${answer.status} without a receipt: is this a Stowage?`)
      : this.refused(answer);
  }

  /** What to throw if the answer says no; with the detail that the service gives. */
  refused(answer: Answer): StowageError {
    const { status, headers } = answer;
    if (status >= 300 && status < 400 && headers.location !== undefined) {
      return this.failed(`it answered ${status} and points to ${headers.location}: use that address`);
    }
    const detail = errorsOf(answer)[0]?.["detail"];
    const hint = status === 401 && this.#token === undefined ? "; STOWAGE_TOKEN is not set" : "";
    return this.failed(`it answered ${status} ${errorText(answer)}${hint}`, isJsonObject(detail) ? { detail } : {});
  }

  failed(reason: string, options: StowageErrorOptions = {}): StowageError {
    return new StowageError("STORE_UNAVAILABLE", `Cannot load into ${this.name}: ${reason}`, options);
  }

  /** Waits for an answer; that there is none becomes a message that names the service. */
  async attempt(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      throw this.failed(error.message, { cause: error });
    }
  }
}

export function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

/** The JSON of an answer, undefined if it is none. */
export function jsonOf({ bytes }: Answer): unknown {
  try {
    return parseJson(bytes);
  } catch {
    return undefined;
  }
}

/** The errors of an OCI error body. */
export function errorsOf(answer: Answer): readonly JsonObject[] {
  const json = jsonOf(answer);
  return isJsonObject(json) && Array.isArray(json["errors"]) ? json["errors"].filter(isJsonObject) : [];
}

/** The messages of an OCI error body, or the beginning of whatever else it is. */
export function errorText(answer: Answer): string {
  const errors = errorsOf(answer);
  if (errors.length > 0) return errors.map(({ code, message }) => `${String(code)}: ${String(message)}`).join("\n  ");
  const text = new TextDecoder().decode(answer.bytes).replaceAll(/\s+/g, " ").trim();
  if (text === "") return "and says no more";
  return text.length <= maxForeignText ? text : `${text.slice(0, maxForeignText)}…`;
}

function pathOf(name: ImageName | undefined): string {
  if (name === undefined) return "";
  return `/${name.repository}${name.tag === undefined ? "" : `:${name.tag}`}`;
}

function jsonBody(json: JsonObject): RequestBody {
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  return { source: once(bytes), size: bytes.length };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
