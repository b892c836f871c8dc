/**
 * Sends one request to a server and reads its answer. Connections are used again.
 *
 * It uses `node:http` and not fetch. A server may refuse a body long before its end. The user must then see the
 * server's reason, and fetch shows only a broken pipe.
 */
import http, { type ClientRequest, type IncomingMessage } from "node:http";
import https from "node:https";
import { pipeline } from "node:stream/promises";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { StowageError } from "../../errors.ts";
import { describeFailure } from "../../remote/describe-failure.ts";
import { NoAnswer } from "../../remote/open-answer.ts";
import { formatSeconds } from "../format.ts";

/** A receipt has a line for each blob, and an archive has at most 100,000 entries. */
const maxAnswerBytes = 64 * 1024 * 1024;

/** A connection that is silent for this long is given up: the server or a proxy has forgotten it. */
const silenceTimeoutMs = 120_000;

const agents = { http: new http.Agent({ keepAlive: true }), https: new https.Agent({ keepAlive: true }) };

export interface HttpRequest {
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
  readonly headers: Headers;
  readonly bytes: Uint8Array;
}

/**
 * Sends the request and reads the answer, with any status. Throws `NoAnswer`, the body's error, or the signal's reason.
 */
export async function exchange(url: URL, { body, signal, ...options }: HttpRequest): Promise<Answer> {
  const outgoing = new OutgoingBody(body);
  let isSilence = false;
  try {
    const request = openRequest(url, { ...options, body, signal, onSilence: () => void (isSilence = true) });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.on("response", resolve).on("error", reject);
    });
    const sent = pipeline(outgoing.chunks(), request);
    sent.catch(() => undefined); // the request fails too, or gets an answer
    try {
      const response = await answered;
      outgoing.stop();
      return { status: response.statusCode ?? 0, headers: headersOf(response), bytes: await collectAnswer(response) };
    } finally {
      request.destroy(); // without effect on a connection that is free again
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof StowageError) throw error;
    const message = `the connection failed after ${outgoing.sentBytes} bytes were sent: ${describeFailure(error)}`;
    throw new NoAnswer(message, { cause: error, isSilence });
  } finally {
    outgoing.end();
  }
}

function openRequest(url: URL, options: HttpRequest & { readonly onSilence: () => void }): ClientRequest {
  const { method, headers, body, signal, timeoutMs = silenceTimeoutMs, onSilence } = options;
  const isSecure = url.protocol === "https:";
  const { request: open } = isSecure ? https : http;
  const request = open(url, {
    method,
    signal,
    agent: isSecure ? agents.https : agents.http,
    headers: { ...headers, ...(body?.size !== undefined && { "Content-Length": body.size }) },
  });
  request.setTimeout(timeoutMs, () => {
    onSilence();
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

function headersOf({ headers }: IncomingMessage): Headers {
  return new Headers(Object.entries(headers).map(([name, value = ""]): [string, string] => [name, String(value)]));
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
