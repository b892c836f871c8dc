/**
 * Sends one request to a server and reads its answer, and tries again if another try can succeed. Connections are used
 * again.
 *
 * It uses `node:http` and not fetch. A server may refuse a body long before its end. The user must then see the
 * server's reason, and fetch shows only a broken pipe.
 */
import http, { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import https from "node:https";
import { pipeline } from "node:stream/promises";
import { setImmediate as turnOfLoop, setTimeout as sleep } from "node:timers/promises";
import { StowageError } from "../../errors.ts";
import { describeFailure, failureCode } from "../../remote/describe-failure.ts";
import { formatSeconds } from "../format.ts";

/** A receipt has a line for each blob, and an archive has at most 100,000 entries. */
const maxAnswerBytes = 64 * 1024 * 1024;

/** A connection that is silent for this long is given up: the server or a proxy has forgotten it. */
const silenceTimeoutMs = 120_000;

const maxTries = 5;
/** The first wait between two tries. Each further wait is twice as long. */
const firstWaitMs = 500;

const agents = { http: new http.Agent({ keepAlive: true }), https: new https.Agent({ keepAlive: true }) };

export interface ExchangeOptions {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody | undefined;
  /** The connection may be silent for this long. Default: `silenceTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  readonly signal: AbortSignal;
}

export interface RequestBody {
  readonly source: AsyncIterable<Uint8Array>;
  /** Length in bytes, if it is known before sending. */
  readonly size: number | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Uint8Array;
}

/** The connection failed before an answer came. Another try may get one. */
export class NoAnswer extends Error {
  /** Did the server close the connection? Servers do so with a connection that was idle for too long. */
  get isReset(): boolean {
    return ["ECONNRESET", "EPIPE"].includes(failureCode(this.cause));
  }
}

/**
 * Sends the request and reads the answer, with any status. Throws `NoAnswer`, the body's error, or the signal's reason.
 */
export async function exchange(url: URL, { body, signal, ...options }: ExchangeOptions): Promise<Answer> {
  const outgoing = new OutgoingBody(body);
  try {
    const request = openRequest(url, { ...options, body, signal });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.on("response", resolve).on("error", reject);
    });
    const sent = pipeline(outgoing.chunks(), request);
    sent.catch(() => undefined); // the request fails too, or gets an answer
    try {
      const response = await answered;
      outgoing.stop();
      return { status: response.statusCode ?? 0, headers: response.headers, bytes: await collectAnswer(response) };
    } finally {
      request.destroy(); // without effect on a connection that is free again
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StowageError) throw error;
    const message = `the connection failed after ${outgoing.sentBytes} bytes were sent: ${describeFailure(error)}`;
    throw new NoAnswer(message, { cause: error });
  } finally {
    outgoing.end();
  }
}

export interface TryAgainOptions {
  readonly signal: AbortSignal;
  /** Can another try get a better answer? */
  readonly isWorthIt: (answer: Answer) => boolean;
  /** Without an answer, tries again only if the server was there (`NoAnswer.isReset`). */
  readonly onlyIfReset?: boolean;
}

/**
 * Asks up to `maxTries` times, while another try may succeed. Returns the first final answer, or else the last answer.
 * Throws if the last try gets no answer.
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

/** Waits for 50 % to 100 % of the time. Clients that failed together then do not come back together. */
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

/** The body while it is sent. Throws if it has more or fewer bytes than were announced. */
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
      await turnOfLoop(); // reads an answer that has arrived: a write that fails would lose it
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

  /**
   * Sends no more, and keeps the body open. If the body ended here, the connection would count as free while the server
   * still waits for the rest.
   */
  stop(): void {
    this.#stopped = true;
  }

  /** Ends the body, and closes its source. */
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
