/**
 * The answers that take long to send: blobs, and lists too large for a socket's buffer. Each has a share of what they take.
 *
 * - A blob holds a connection to the store only while bytes come. A client that reads slowly gives it back to others.
 * - Answers with blobs are counted: each holds some memory, also while its client does not read.
 * - A large list is in memory until it is sent: it takes from a budget of bytes.
 *
 * A request waits ten seconds for its turn. Meanwhile clients that read too slowly are cut off.
 */
import type { Context } from "hono";
import type { Layout } from "../layout/layout.ts";
import { type ByteRange, defaultMaxOpenBodies } from "../storage/object-store.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
import { type AcquireOptions, Line, type Release, maxTurnWaitMs } from "../streams/line.ts";
import { type AnswerSource, answerStream } from "./answer-stream.ts";
import { callerName } from "./authentication.ts";
import { BlobBytes } from "./blob-bytes.ts";

/** Blobs that are sent at once, for each body that the store is asked for at once. A client that does not read takes 256 KiB. */
const answersPerBody = 8;

/** Requests of one caller that wait to be answered. All clients without a token are one caller. A request has no body. */
const maxWaiters = 2048;

/** Chunks of a larger one. */
const chunkBytes = 64 * 1024;

/** Manifests of the largest size that all large answers in memory come to. */
const largeManifests = 8;

export interface AnswersOptions {
  readonly layout: Layout;
  /** Closes the connection of a request's client. Without it an answer that is cut off ends with an error. */
  readonly hangUp: ((c: Context) => void) | undefined;
  readonly log: (line: string) => void;
}

/** A text that is made once there is memory for it. */
export interface TextAnswer {
  /** At least the bytes of the text. */
  readonly maxBytes: number;
  readonly text: () => string;
  /** 200 if it is left out. */
  readonly status?: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

export interface OpenBlob {
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly body: ReadableStream<Uint8Array>;
}

export class Answers {
  readonly #options: AnswersOptions;
  readonly #connections: Line;
  readonly #blobs: Line;
  readonly #memory: Line;

  constructor(options: AnswersOptions) {
    this.#options = options;
    const line = (capacity: number, units: string, limit: string): Line =>
      new Line({ capacity, units, limit, maxWaiters });
    const { store, limits } = options.layout;
    const { maxOpenBodies = defaultMaxOpenBodies } = store;
    this.#connections = line(maxOpenBodies, "connections to the store for blobs", "maxOpenBodies");
    this.#blobs = line(answersPerBody * maxOpenBodies, "answers with blobs", "maxBlobAnswers");
    const memoryBytes = largeManifests * limits.maxManifestBytes;
    this.#memory = line(memoryBytes, "bytes of large answers", "maxLargeAnswerBytes");
  }

  /** Opens a blob, or a range of it. Undefined if it is not there. Throws `TOOMANYREQUESTS`. */
  async openBlob(c: Context, digest: string, range?: ByteRange): Promise<OpenBlob | undefined> {
    const turn = this.#turnOf(c);
    const release = await this.#blobs.acquire(1, turn);
    try {
      const { store } = this.#options.layout;
      const bytes = await BlobBytes.open({ store, digest, range, connections: this.#connections, ...turn });
      if (bytes !== undefined)
        return { size: bytes.size, body: this.#stream(c, bytes, { line: this.#blobs, release }) };
    } catch (error) {
      release();
      throw error;
    }
    release();
    return undefined;
  }

  /** Answers with a text. If a large one has to wait for memory, it is prepared again afterwards: nothing is held meanwhile. */
  async sendText(c: Context, prepare: () => Promise<TextAnswer>): Promise<Response> {
    const { maxBytes, text, status = 200, headers } = await prepare();
    if (maxBytes <= smallObjectBytes || c.req.method === "HEAD") return new Response(text(), { status, headers });
    const release = this.#memory.tryAcquire(this.#bytesOf(maxBytes), this.#turnOf(c));
    if (release !== undefined) return this.#sendLarge(c, { text, status, headers }, release);
    return this.#sendLater(c, prepare, maxBytes);
  }

  async #sendLater(c: Context, prepare: () => Promise<TextAnswer>, maxBytes: number): Promise<Response> {
    const release = await this.#memory.acquire(this.#bytesOf(maxBytes), this.#turnOf(c));
    try {
      return this.#sendLarge(c, await prepare(), release);
    } catch (error) {
      release();
      throw error;
    }
  }

  #sendLarge(c: Context, { text, status = 200, headers }: Omit<TextAnswer, "maxBytes">, release: Release): Response {
    const bytes = Buffer.from(text());
    const body = this.#stream(c, piecesOf(bytes), { line: this.#memory, release });
    return new Response(body, { status, headers: { ...headers, "Content-Length": String(bytes.length) } });
  }

  #stream(c: Context, source: AnswerSource, { line, release }: Hold): ReadableStream<Uint8Array> {
    const { hangUp, log } = this.#options;
    const caller = callerName(c);
    return answerStream(source, {
      signal: c.req.raw.signal,
      isRestWanted: () => this.#connections.hasWaiters,
      isEndWanted: () => line.hasWaiters,
      isOverdrawn: () => line.isOverdrawn(caller),
      onEnd: release,
      onCut: (error) => {
        log(`${c.req.method} ${new URL(c.req.url).pathname} cut off: ${error.message}`);
        hangUp?.(c);
        return hangUp !== undefined;
      },
    });
  }

  #turnOf(c: Context): Required<Pick<AcquireOptions, "caller" | "signal" | "maxWaitMs">> {
    return { caller: callerName(c), signal: c.req.raw.signal, maxWaitMs: maxTurnWaitMs };
  }

  /** A larger answer than all may be together is let in by itself. */
  #bytesOf(bytes: number): number {
    return Math.min(bytes, this.#memory.capacity);
  }
}

interface Hold {
  readonly line: Line;
  readonly release: Release;
}

function piecesOf(bytes: Uint8Array): AnswerSource {
  let at = 0;
  return {
    next: async () => {
      if (at >= bytes.length) return { done: true, value: undefined };
      const value = bytes.subarray(at, at + chunkBytes);
      at += value.length;
      return { done: false, value };
    },
  };
}
