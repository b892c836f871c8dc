/** A running Stowage service, for the command line: its URL, the caller's token, and the meaning of its answers. */
import { systemClock } from "../../clock.ts";
import { type ErrorCode, type StowageErrorOptions, isTransient, StowageError } from "../../errors.ts";
import { codeIn, detailIn, errorText, jsonIn } from "../../oci/error-body.ts";
import type { JsonObject } from "../../oci/json.ts";
import { type ImageName, formatName } from "../../oci/reference.ts";
import { isSuccess } from "../../remote/answer.ts";
import { authorizationOf, credentialsOf, decodePercents } from "../../remote/credentials.ts";
import { isWrongAddress } from "../../remote/describe-failure.ts";
import { NoAnswer } from "../../remote/open-answer.ts";
import { type TryAgainOptions, tryAgain } from "../../remote/try-again.ts";
import { oneChunk } from "../../streams/readable-stream.ts";
import type { CommandIo } from "../command.ts";
import { type ServiceReceipt, parseReceipt } from "../describe-receipt.ts";
import { tokenSourceOf } from "../token-source.ts";
import { type Answer, type HttpRequest, type RequestBody, exchange } from "./exchange.ts";

/** A load sends no byte until everything is stored. That can take minutes. */
const loadTimeoutMs = 30 * 60_000;

/** Without this parameter the answer has only the images and totals. */
const wholeReceipt = "?verbose=true";

/** The path of a part that the service itself takes. A bucket's presigned URLs have another form. */
const ownPart = /\/(v1\/uploads\/[\w-]+\/parts\/\d+\?key=[^&]*)$/;

interface ServiceRequest {
  readonly method: "GET" | "HEAD" | "POST" | "DELETE";
  /** Sent as the body. */
  readonly json?: JsonObject;
  readonly signal: AbortSignal;
}

export interface LoadRequest {
  readonly name: ImageName | undefined;
  /** The service reads its copies of the blobs, and writes damaged ones again. */
  readonly repair?: boolean | undefined;
  /** The names of the service's targets that get the images too, with commas. Undefined for those of its settings. */
  readonly copyTo?: string | undefined;
  /** How long the images live, such as `72h`. */
  readonly expires?: string | undefined;
  readonly signal: AbortSignal;
}

/** What the command does with the service. It is part of messages. */
type Purpose = "load into" | "remove from";
/** Finds the value of the header for a request. Undefined if there is nothing to show. */
type FindAuthorization = () => Promise<string | undefined>;

/**
 * The service at a URL such as `https://stowage.example` or `https://ci:TOKEN@stowage.example`. Without user info in
 * the URL the token is that of the environment (`tokenSourceOf`). Throws `INPUT_INVALID`, without any secret in the
 * message.
 */
export function openService(
  text: string,
  { purpose, ...io }: Pick<CommandIo, "env" | "signal"> & { readonly purpose: Purpose },
): ServiceClient {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw unusable(text, "");
  if (`${url.pathname}${url.search}${url.hash}`.includes("@")) {
    throw unusable(text, '; in a password "/", "?", "#" and "@" are written %2F, %3F, %23 and %40');
  }
  const findAuthorization = authorizationFinder(url, io);
  return new ServiceClient(withoutLoadPath(url), purpose, findAuthorization);
}

/**
 * The service's URL from a URL for `curl`: `https://stowage.example/v1/load` becomes `https://stowage.example`. Throws
 * `INPUT_INVALID` if the URL has an image's name: the command has an argument for the name.
 */
function withoutLoadPath(url: URL): URL {
  const [, base = "", name = ""] = /^(.*?)\/+v1\/+load\/*(.*)$/.exec(url.pathname) ?? [undefined, url.pathname];
  const service = new URL(`${url.origin}${base}/`);
  if (name === "") return service;
  const shown = service.href.replace(/\/+$/, "");
  const image = decodePercents(name);
  const message = `found ${JSON.stringify(`${shown}/v1/load/${image}`)} as the service's URL, expected ${shown}`;
  throw new StowageError("INPUT_INVALID", `${message}, and the name ${JSON.stringify(image)} as an argument`);
}

export class ServiceClient {
  /** The URL without secrets, for messages. */
  readonly name: string;
  /** Host and port for pulls. Undefined for a service below a path: clients look for `/v2/` only at the root. */
  readonly registry: string | undefined;
  readonly #purpose: Purpose;
  readonly #findAuthorization: FindAuthorization | undefined;
  #hasAnswered = false;

  /** The service may be mounted below a path of the URL. */
  constructor(url: URL, purpose: Purpose, findAuthorization: FindAuthorization | undefined) {
    const path = url.pathname.replace(/\/+$/, "");
    this.#purpose = purpose;
    this.name = url.origin + path;
    this.registry = path === "" ? url.host : undefined;
    this.#findAuthorization = findAuthorization;
  }

  /** Requests a path below the service's URL, such as `v1/uploads`. Tries again if that can help. */
  async ask(path: string, { json, ...options }: ServiceRequest): Promise<Answer> {
    const { signal } = options;
    const ask = async (): Promise<Answer> =>
      this.#exchange(path, {
        ...options,
        ...(json !== undefined && { body: jsonBody(json), type: "application/json" }),
      });
    return this.tryAgain(ask, { signal });
  }

  /** Asks the service to load an upload. Tries again if that can help. The caller reads the answer. */
  async loadUpload(id: string, { signal, ...load }: LoadRequest): Promise<Answer> {
    const path = `v1/uploads/${id}/load${pathOf(load)}`;
    return this.tryAgain(async () => this.#exchange(path, { method: "POST", signal, timeoutMs: loadTimeoutMs }), {
      signal,
    });
  }

  /** Sends a tarball in one request. The caller reads the answer. Throws `NoAnswer`. */
  async put(body: RequestBody, { signal, ...load }: LoadRequest): Promise<Answer> {
    const options = { method: "PUT", body, type: "application/x-tar", signal, timeoutMs: loadTimeoutMs } as const;
    return this.#exchange(`v1/load${pathOf(load)}`, options);
  }

  /**
   * Sends a part to a bucket, without the token, or to the service. The service may call itself by a host that this
   * client cannot reach, so its parts go to the service's URL as the client knows it. Throws `NoAnswer`.
   */
  async putPart(url: URL, body: RequestBody, signal: AbortSignal): Promise<Answer> {
    const [, path] = ownPart.exec(url.pathname + url.search) ?? [];
    const options = { method: "PUT", body, signal } as const;
    return path === undefined ? exchange(url, options) : this.#exchange(path, options);
  }

  async #exchange(path: string, { type, ...options }: HttpRequest & { readonly type?: string }): Promise<Answer> {
    const authorization = await this.#findAuthorization?.();
    const answer = await exchange(new URL(`${this.name}/${path}`), {
      ...options,
      headers: {
        ...(type !== undefined && { "Content-Type": type }),
        ...(authorization !== undefined && { Authorization: authorization }),
      },
    });
    this.#hasAnswered = true;
    return answer;
  }

  /**
   * Throws `STORE_UNAVAILABLE` unless the answer is a receipt. The receipt after `COPY_FAILED` says which targets lack
   * images; it has no lists of blobs and ignored entries.
   */
  readReceipt(answer: Answer): ServiceReceipt {
    const isCopyFailed = codeIn(answer.bytes) === "COPY_FAILED";
    const detail = isCopyFailed ? { blobs: [], ignored: [], requests: {}, ...detailIn(answer.bytes) } : undefined;
    const receipt = parseReceipt(isSuccess(answer) ? jsonIn(answer.bytes) : detail);
    if (receipt !== undefined) return receipt;
    throw isSuccess(answer)
      ? this.failed(`it answered ${answer.status} without a receipt: is this a Stowage?`)
      : this.refused(answer);
  }

  /** The error of an answer that is not a success, with the service's detail. */
  refused(answer: Answer): StowageError {
    const { status, headers } = answer;
    const location = headers.get("Location");
    if (status >= 300 && status < 400 && location !== null) {
      return this.failed(`it answered ${status} and points to ${location}: use that address`);
    }
    const detail = detailIn(answer.bytes);
    const hint = status === 401 && this.#findAuthorization === undefined ? "; STOWAGE_TOKEN is not set" : "";
    return new Refusal(this.#messageOf(`it answered ${status} ${errorText(answer.bytes)}${hint}`), {
      reason: codeIn(answer.bytes),
      ...(detail && { detail }),
    });
  }

  failed(reason: string, options: StowageErrorOptions = {}): StowageError {
    return new StowageError("STORE_UNAVAILABLE", this.#messageOf(reason), options);
  }

  #messageOf(reason: string): string {
    return `Cannot ${this.#purpose} ${this.name}: ${reason}`;
  }

  /** Sends a request, and sends it again if that can help: not if the service was never there. */
  async tryAgain(
    ask: () => Promise<Answer>,
    { signal, isWorthIt = isTransientAnswer }: Pick<TryAgainOptions<Answer>, "signal" | "isWorthIt">,
  ): Promise<Answer> {
    const isHopeless = (error: NoAnswer): boolean => !this.#hasAnswered && (error.isSilence || isWrongAddress(error));
    return this.attempt(tryAgain(ask, { clock: systemClock, signal, isWorthIt, isHopeless }));
  }

  /** Waits for an answer. Turns `NoAnswer` into a message that names the service. */
  async attempt(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      throw this.failed(error.message, { cause: error });
    }
  }
}

/** The service refused a request. */
export class Refusal extends StowageError {
  /** The service's error code. Undefined if another program answered, such as a proxy. */
  readonly reason: ErrorCode | undefined;

  constructor(message: string, { reason, ...options }: StowageErrorOptions & Pick<Refusal, "reason">) {
    super("STORE_UNAVAILABLE", message, options);
    this.reason = reason;
  }
}

/** These errors are not about the bytes: another request or another caller may load them, or the upload is gone. */
const harmless: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "DENIED",
  "UNAUTHORIZED",
  "INPUT_INVALID",
  "BLOB_UPLOAD_UNKNOWN",
]);

/** Would the service refuse the same bytes again? */
export function isPermanent(error: unknown): error is Refusal {
  if (!(error instanceof Refusal) || error.reason === undefined) return false;
  return !isTransient(error.reason) && !harmless.has(error.reason);
}

/**
 * Is another try worth it: after a timeout, too many requests, a server error, or an error code that says so? A failed
 * copy is not: the service itself has tried again, and its answer is a receipt.
 */
export function isTransientAnswer(answer: Answer): boolean {
  const { status } = answer;
  const reason = codeIn(answer.bytes);
  if (isSuccess(answer) || reason === "COPY_FAILED") return false;
  return status === 408 || status === 429 || status >= 500 || (reason !== undefined && isTransient(reason));
}

/** The part of the URL behind `load`. */
function pathOf({ name, repair = false, copyTo, expires }: Omit<LoadRequest, "signal">): string {
  const path = name === undefined ? "" : `/${formatName(name)}`;
  const copies = copyTo === undefined ? "" : `&copyTo=${encodeURIComponent(copyTo)}`;
  const end = expires === undefined ? "" : `&expires=${encodeURIComponent(expires)}`;
  return `${path}${wholeReceipt}${repair ? "&repair=true" : ""}${copies}${end}`;
}

function jsonBody(json: JsonObject): RequestBody {
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  return { source: oneChunk(bytes), size: bytes.length };
}

/** Text before an "@" is not shown: it may be a secret, also in a text that is not a URL. */
function unusable(text: string, hint: string): StowageError {
  const at = text.lastIndexOf("@");
  const shown = at === -1 ? text : `…${text.slice(at)}`;
  const expected = "expected one such as http://127.0.0.1:8080 or https://ci:TOKEN@stowage.example";
  const message = `Cannot use ${JSON.stringify(shown)} as the service's URL: ${expected}${hint}`;
  return new StowageError("INPUT_INVALID", message);
}

/** User and password of the URL are sent unchanged: they may belong to the app around the service. */
function authorizationFinder(url: URL, io: Pick<CommandIo, "env" | "signal">): FindAuthorization | undefined {
  const credentials = credentialsOf(url, "the service's URL");
  if (credentials !== undefined) return async () => authorizationOf(credentials);
  const findToken = tokenSourceOf(io);
  return findToken && (async () => authorizationOf({ token: await findToken() }));
}
