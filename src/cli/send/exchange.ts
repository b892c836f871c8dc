/**
 * One request to a server and its answer, and the same again where that helps. By `node:http`, not fetch: a server may
 * refuse a body long before its end, and what it says then is what the user has to see, not that the pipe is broken.
 * Connections are used again and again.
 */
import http, { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import https from "node:https";
import { pipeline } from "node:stream/promises";
import { setImmediate as turnOfLoop, setTimeout as sleep } from "node:timers/promises";
import { StowageError, messageOf } from "../../errors.ts";
import { formatSeconds } from "../format.ts";

/** A receipt has a line for each blob, and an archive at most 100,000 entries. */
const maxAnswerBytes = 64 * 1024 * 1024;

/** A connection over which nothing goes for so long has been forgotten by the other side, or on the way. */
const silenceTimeoutMs = 120_000;

const maxTries = 5;
/** The first wait; each further one is twice as long. */
const firstWaitMs = 500;

const agents = { http: new http.Agent({ keepAlive: true }), https: new https.Agent({ keepAlive: true }) };

export interface ExchangeOptions {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  /** How long nothing may go over the connection, where it is not `silenceTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  readonly signal: AbortSignal;
}

export interface RequestBody {
  readonly source: AsyncIterable<Uint8Array>;
  /** Length in bytes, where it is known beforehand. */
  readonly size: number | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Uint8Array;
}

/** The connection failed before there was an answer: another try may have one. */
export class NoAnswer extends Error {
  /** The other side was there, and has let go, as of a connection that was kept for too long. */
  get isReset(): boolean {
    return ["ECONNRESET", "EPIPE"].includes(codeOf(this.cause));
  }
}

/**
 * Sends the request and reads the answer, whatever its status. Throws `NoAnswer`, what the body throws, and the signal's
 * reason.
 */
export async function exchange(url: URL, { body, signal, ...options }: ExchangeOptions): Promise<Answer> {
  const outgoing = new OutgoingBody(body);
  try {
    const request = openRequest(url, { ...options, body, signal });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.on("response", resolve).on("error", reject);
    });
    const sent = pipeline(outgoing.chunks(), request);
    sent.catch(() => undefined); // the request fails as well, or is answered
    try {
      const response = await answered;
      outgoing.stop();
      return { status: response.statusCode ?? 0, headers: response.headers, bytes: await collectAnswer(response) };
    } finally {
      request.destroy(); // does nothing to a connection that is free for the next request
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StowageError) throw error;
    const message = `the connection failed after ${outgoing.sentBytes} bytes were sent: ${describe(error)}`;
    throw new NoAnswer(message, { cause: error });
  } finally {
    outgoing.end();
  }
}

export interface TryAgainOptions {
  readonly signal: AbortSignal;
  /** May another try be answered otherwise? */
  readonly isWorthIt: (answer: Answer) => boolean;
  /** Where there was no answer, tries again only if the other side was there (`NoAnswer.isReset`). */
  readonly onlyIfReset?: boolean;
}

/**
 * Asks again and again, where it may go better next time: networks and services have bad moments. Returns the first answer
 * that is final, or the last one; throws if there was none at last.
 */
export async function tryAgain(ask: () => Promise<Answer>, options: TryAgainOptions): Promise<Answer> {
  const { signal, isWorthIt, onlyIfReset = false } = options;
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await ask();
      if (tries === maxTries || !isWorthIt(answer)) return answer;
    } catch (error) {
      if (tries === maxTries || !(error instanceof NoAnswer)) throw error;
      if (onlyIfReset && !error.isReset) throw error;
    }
    await pause(firstWaitMs * 2 ** (tries - 1), signal);
  }
}

/** Between half of the time and all of it, so that those who failed together do not come back together. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

function openRequest(url: URL, options: ExchangeOptions): ClientRequest {
  const { method, headers, body, signal, timeoutMs = silenceTimeoutMs } = options;
  const isSecure = url.protocol === "https:";
  const { request: open } = isSecure ? https : http;
  const request = open(url, {
    method,
    signal,
    agent: isSecure ? agents.https : agents.http,
    headers: { ...headers, ...(body?.size !== undefined && { "Content-Length": body.size }) },
  });
  request.setTimeout(timeoutMs, () => {
    request.destroy(new Error(`nothing was heard of the other side for ${formatSeconds(timeoutMs / 1000)}`));
  });
  return request;
}

/** The body, for as long as somebody wants it; neither more nor fewer bytes than were announced. */
class OutgoingBody {
  readonly #body: RequestBody | undefined;
  #stopped = false;
  #end: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => (this.#end = resolve));
  sentBytes = 0;

  constructor(body: RequestBody | undefined) {
    this.#body = body;
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    if (this.#body === undefined) return;
    const { source, size } = this.#body;
    for await (const chunk of source) {
      await turnOfLoop(); // an answer that has arrived is read first: a write that fails would lose it
      if (this.#stopped) {
        await this.#ended;
        return;
      }
      if (size !== undefined && this.sentBytes + chunk.length > size) throw changed("more bytes", size);
      yield chunk;
      this.sentBytes += chunk.length;
    }
    if (size !== undefined && this.sentBytes < size) throw changed(`${this.sentBytes} bytes`, size);
  }

  /** Sends no more. A body that ended here would free a connection over which the other side waits for the rest. */
  stop(): void {
    this.#stopped = true;
  }

  /** Lets go of the source. */
  end(): void {
    this.#end();
  }
}

function changed(found: string, size: number): StowageError {
  const message = `Cannot send the archive: it has changed meanwhile, found ${found}, expected ${size}`;
  return new StowageError("ARCHIVE_INVALID", message);
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

/** Where a name has several addresses, Node's error has no message, only a code; OpenSSL's has a line end. */
function describe(error: unknown): string {
  const hint = hints[codeOf(error)];
  return `${messageOf(error).trim() || codeOf(error)}${hint === undefined ? "" : `; ${hint}`}`;
}

const noTls = "that port speaks no TLS: is the URL to begin with http://?";
const noTrust = "NODE_EXTRA_CA_CERTS names a file with the certificate to trust";

/** What mends it, where that is known. */
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there: are host and port right, and does the service run?",
  ENOTFOUND: "there is no such host",
  EPROTO: noTls,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  HPE_INVALID_CONSTANT: "that is no answer of HTTP: is the URL to begin with https://?",
  DEPTH_ZERO_SELF_SIGNED_CERT: noTrust,
  SELF_SIGNED_CERT_IN_CHAIN: noTrust,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: noTrust,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: noTrust,
};

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
