/**
 * One registry, or a Stowage service: sends requests with the caller's credentials, and tries again if that can help.
 */
import { type Clock, systemClock } from "../clock.ts";
import { type ErrorCode, StowageError } from "../errors.ts";
import { codeIn, errorText } from "../oci/error-body.ts";
import { type Answer, inAnswerTime, isSuccess, readAnswer } from "./answer.ts";
import { Authorizer, type RealmToken } from "./authorizer.ts";
import type { Credentials } from "./credentials.ts";
import { isWrongAddress } from "./describe-failure.ts";
import { NoAnswer, type OpenAnswer, openAnswer } from "./open-answer.ts";
import type { RegistryAddress } from "./registry-address.ts";
import { pause, retryAfterSeconds, tryAgain } from "./try-again.ts";

/** A connection that is silent for this long is given up. */
const defaultMaxIdleSeconds = 60;

/** The name that a function URL of AWS Lambda gives to the header. */
const remappedChallenge = "x-amzn-Remapped-www-authenticate";

export interface RegistryClientOptions {
  /** Used if the address has none. */
  readonly credentials?: Credentials | undefined;
  /** Used if there are no credentials, and the registry asks for this realm. */
  readonly realmToken?: RealmToken | undefined;
  /** Called once, with host and port, when the registry asks for credentials and there are none. */
  readonly findCredentials?: ((host: string) => Promise<Credentials | undefined>) | undefined;
  /** Why there are no credentials. It is a part of messages. */
  readonly credentialsHint?: string | undefined;
  /** Seconds for which the registry may be silent. Default: 60. */
  readonly maxIdleSeconds?: number | undefined;
  /** For tests. */
  readonly clock?: Clock | undefined;
}

export interface RegistryRequest {
  readonly method?: "GET" | "HEAD" | "POST" | "PUT";
  /** Path and query below `/v2/`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** What a token must allow: `repository:acme/app:pull`. */
  readonly scope: string;
  /** For messages: `manifest "1.4" of "acme/app"`. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
}

/** The parts of a request that messages tell. */
type NamedRequest = Pick<RegistryRequest, "method" | "what">;

export class RegistryClient {
  /** The URL without secrets, for messages. */
  readonly name: string;
  readonly #clock: Clock;
  readonly #maxIdleSeconds: number;
  readonly #authorizer: Authorizer;
  readonly #credentialsHint: string;
  #hasAnswered = false;

  constructor(address: RegistryAddress, options: RegistryClientOptions = {}) {
    const { clock = systemClock, maxIdleSeconds = defaultMaxIdleSeconds, findCredentials, realmToken } = options;
    this.name = address.url;
    this.#credentialsHint = options.credentialsHint ?? "it was asked without credentials";
    this.#clock = clock;
    this.#maxIdleSeconds = maxIdleSeconds;
    const credentials = address.credentials ?? options.credentials;
    const registry = new URL(address.url);
    this.#authorizer = new Authorizer({
      registry,
      credentials,
      realmToken,
      findCredentials,
      maxIdleSeconds,
      clock,
    });
  }

  /** Reads a whole answer, with any status. */
  async read(request: RegistryRequest & { readonly maxBytes: number }): Promise<Answer> {
    return this.#tryAgain(request, async (signal) =>
      inAnswerTime({ what: this.#named(request), signal }, async (inTime) =>
        readAnswer(await this.#send(request, inTime), { maxBytes: request.maxBytes, what: this.#named(request) }),
      ),
    );
  }

  /** Opens an answer. The caller reads its body or closes it. Of an answer that is no success, the body is read. */
  async open(request: RegistryRequest): Promise<OpenAnswer | Answer> {
    return this.#tryAgain<OpenAnswer | Answer>(request, async (signal) => {
      const opened = await this.#send(request, signal);
      if (isSuccess(opened)) return opened;
      const what = this.#named(request);
      return readAnswer(opened, { maxBytes: 0, what });
    });
  }

  /** Waits between two tries. Each wait is longer than the one before. */
  async pause(tries: number, signal: AbortSignal): Promise<void> {
    await pause(tries, { clock: this.#clock, signal });
  }

  /** The error of an answer that is not what was asked for, with the registry's own words. */
  refused(answer: Answer, request: NamedRequest): StowageError {
    const { status, foreignOrigin } = answer;
    const code = foreignOrigin === undefined ? (codeIn(answer.bytes) ?? codesOfStatus[status]) : undefined;
    const wait = retryAfterSeconds(answer.headers, this.#clock.now());
    const isStranger =
      (status === 401 || status === 403) && foreignOrigin === undefined && this.#authorizer.isAnonymous;
    const hints = [
      ...(wait === undefined ? [] : [`; it asks to wait ${wait} seconds`]),
      ...(isStranger ? [`; ${this.#credentialsHint}`] : []),
    ];
    const reason = `${foreignOrigin ?? "it"} answered ${status} ${errorText(answer.bytes)}${hints.join("")}`;
    return this.failed(code ?? "STORE_UNAVAILABLE", reason, request);
  }

  failed(code: ErrorCode, reason: string, request: NamedRequest, cause?: unknown): StowageError {
    const message = `Cannot ${isWrite(request) ? "write" : "read"} ${this.#named(request)}: ${reason}`;
    return new StowageError(code, message, cause === undefined ? {} : { cause });
  }

  #named(request: NamedRequest): string {
    return `${request.what} ${isWrite(request) ? "in" : "from"} ${this.name}`;
  }

  async #tryAgain<T extends OpenAnswer | Answer>(
    request: RegistryRequest,
    ask: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { signal = AbortSignal.any([]) } = request;
    const isHopeless = (error: NoAnswer): boolean => !this.#hasAnswered && isWrongAddress(error);
    const options = { clock: this.#clock, signal, isHopeless };
    try {
      return await tryAgain(async () => ask(signal), options);
    } catch (error) {
      throw error instanceof NoAnswer ? this.noAnswer(error, request) : error;
    }
  }

  noAnswer(error: NoAnswer, request: NamedRequest): StowageError {
    return this.failed(error.isSilence ? "TIMED_OUT" : "STORE_UNAVAILABLE", error.message, request, error);
  }

  /** Sends the request, and after a 401 once more with another header. */
  async #send(request: RegistryRequest, signal: AbortSignal): Promise<OpenAnswer> {
    const { scope } = request;
    const used = this.#authorizer.headerFor(scope);
    const opened = await this.#open(request, used, signal);
    this.#hasAnswered = true;
    if (opened.status !== 401 || opened.foreignOrigin !== undefined) return opened;
    const { headers } = opened;
    const challenge = headers.get("WWW-Authenticate") ?? headers.get(remappedChallenge);
    let renewed: string | undefined;
    try {
      renewed = await this.#authorizer.renew(challenge, { scope, used, signal });
    } catch (error) {
      await opened.body.return();
      throw error;
    }
    if (renewed === undefined) return opened;
    await opened.body.return();
    return this.#open(request, renewed, signal);
  }

  async #open(
    { method = "GET", path, headers, body }: RegistryRequest,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<OpenAnswer> {
    return openAnswer(new URL(`${this.name}/v2/${path}`), {
      method,
      headers: { "User-Agent": "stowage", ...headers },
      body,
      authorization,
      maxIdleSeconds: this.#maxIdleSeconds,
      signal,
    });
  }
}

function isWrite({ method }: NamedRequest): boolean {
  return method === "POST" || method === "PUT";
}

const codesOfStatus: Readonly<Record<number, ErrorCode>> = {
  401: "UNAUTHORIZED",
  403: "DENIED",
  429: "TOOMANYREQUESTS",
};
