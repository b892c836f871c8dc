/**
 * Sends one request, and follows its redirects: registries send clients to a bucket for blobs.
 *
 * Redirects are followed by hand. `Authorization` is for the registry alone: the first redirect to another origin loses
 * it, and it does not come back.
 */
import { StowageError } from "../errors.ts";
import { orAbort } from "../streams/abortable.ts";
import { startTimer } from "../streams/in-time.ts";
import { type ByteChunks, byteStreamToBytes } from "../streams/readable-stream.ts";
import { describeFailure } from "./describe-failure.ts";

/** Redirects of one request. A registry needs one, and a content network in front of a bucket a second one. */
const maxRedirects = 5;

export interface OpenRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT";
  readonly headers: Readonly<Record<string, string>>;
  /** The `Authorization` header. It is sent to the origin of the URL only. */
  readonly authorization?: string | undefined;
  /** A form, or bytes. */
  readonly body?: URLSearchParams | Uint8Array<ArrayBuffer> | undefined;
  /** The server may be silent for this long, before its answer and in the middle of it. */
  readonly maxIdleSeconds: number;
  /** Default: true. Otherwise a redirect is an answer as any other. */
  readonly followsRedirects?: boolean | undefined;
  readonly signal: AbortSignal;
}

/** An answer whose body has not been read. The caller reads the body to its end, or closes it by `return`. */
export interface OpenAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** Where the answer came from, if not from the origin of the URL. */
  readonly foreignOrigin: string | undefined;
  readonly body: ByteChunks;
}

/**
 * The connection failed, or the server was silent for too long. Another try may get an answer. The message names no
 * URL: a bucket's URL has a signature in it.
 */
export class NoAnswer extends Error {
  readonly isSilence: boolean;

  constructor(message: string, options: ErrorOptions & { readonly isSilence?: boolean } = {}) {
    super(message, options);
    this.isSilence = options.isSilence ?? false;
  }
}

/** Throws `NoAnswer`, the signal's reason, or `STORE_UNAVAILABLE` for a redirect that is not followed. */
export async function openAnswer(url: URL, options: OpenRequest): Promise<OpenAnswer> {
  const patience = new Patience(options);
  let at = url;
  let isForeign = false;
  for (let redirects = 0; ; redirects++) {
    const response = await patience.wait(async (signal) =>
      send(at, signal, isForeign ? withoutSecrets(options) : options),
    );
    const { status, headers, body } = response;
    const isRedirect = options.followsRedirects !== false && status >= 300 && status < 400;
    const location = isRedirect ? headers.get("Location") : null;
    if (location === null) {
      return { status, headers, foreignOrigin: isForeign ? at.origin : undefined, body: patientBody(body, patience) };
    }
    await body?.cancel();
    if (options.body !== undefined) throw unfollowed(at, "the request has a body");
    if (redirects === maxRedirects) throw unfollowed(at, `it is the redirect after ${maxRedirects} others`);
    const next = redirectTarget(location, at);
    isForeign ||= next.origin !== at.origin;
    at = next;
  }
}

function withoutSecrets(options: OpenRequest): OpenRequest {
  return { ...options, authorization: undefined };
}

async function send(
  url: URL,
  signal: AbortSignal,
  { method, headers, authorization, body }: OpenRequest,
): Promise<Response> {
  return fetch(url, {
    method,
    redirect: "manual",
    signal,
    headers: { ...headers, ...(authorization !== undefined && { Authorization: authorization }) },
    ...(body !== undefined && { body }),
  });
}

/** Never leads from TLS to plain HTTP: a reader of the line would see the signature of a bucket's URL. */
function redirectTarget(location: string, from: URL): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol))
    throw unfollowed(from, "its target is no web address");
  if (target.username !== "" || target.password !== "") throw unfollowed(from, "its target has a user");
  if (from.protocol === "https:" && target.protocol === "http:") {
    throw unfollowed(from, `its target ${target.origin} is without TLS`);
  }
  return target;
}

function unfollowed({ origin }: URL, reason: string): StowageError {
  return new StowageError("STORE_UNAVAILABLE", `Cannot follow a redirect of ${origin}: ${reason}`);
}

/** Ends a request whose server is silent for too long. Turns what went wrong with the connection into `NoAnswer`. */
class Patience {
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  readonly #options: OpenRequest;

  constructor(options: OpenRequest) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#over.signal]);
  }

  /** One wait for the server. */
  async wait<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { maxIdleSeconds, signal } = this.#options;
    const timer = startTimer(maxIdleSeconds, () => {
      this.#over.abort(new NoAnswer(`nothing came for ${maxIdleSeconds} seconds`, { isSilence: true }));
    });
    try {
      return await orAbort(work(this.#signal), this.#signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#over.signal.throwIfAborted();
      throw new NoAnswer(`the connection failed: ${describeFailure(error)}`, { cause: error });
    } finally {
      timer.stop();
    }
  }
}

function patientBody(body: ReadableStream<Uint8Array> | null, patience: Patience): ByteChunks {
  const chunks = byteStreamToBytes(body);
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next: async () => patience.wait(async () => chunks.next()),
    return: async () => chunks.return(),
  };
}
