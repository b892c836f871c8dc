/**
 * Large answers: blobs, and texts that do not fit into a socket's buffer. All callers share the resources of these
 * answers:
 *
 * - connections to the store. A blob holds one only while bytes come. A slow reader gives its connection to others.
 * - open answers with blobs. Each takes some memory, also while its client does not read.
 * - bytes of large texts. A text is in memory until it is sent.
 *
 * A request waits ten seconds for its turn. Meanwhile clients that read too slowly are cut off.
 */
import type { Context } from "hono";
import type { Digest } from "../digest.ts";
import type { Layout } from "../layout/layout.ts";
import { type ByteRange, defaultMaxOpenBodies } from "../storage/object-store.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
import { Line, type Release } from "../streams/line.ts";
import { type AnswerSource, answerStream } from "./answer-stream.ts";
import { ArchiveBytes, type Pack } from "./archive-bytes.ts";
import { callerName, requesterOf, waiterOf } from "./authentication.ts";
import { BlobBytes, type BlobReader } from "./blob-bytes.ts";
import { RequestRecord } from "./request-record.ts";

/**
 * Blobs that are sent at the same time, for each connection to the store. A client that does not read takes 170 KiB, or
 * up to 2 MiB more with large chunks.
 */
const answersPerConnection = 8;

/**
 * Waiting requests of one caller. They have no body, so each takes little memory. All clients without a token are one
 * caller.
 */
const maxWaiters = 2048;

/** A large text is sent in chunks of this size. */
const chunkBytes = 64 * 1024;

/** All large texts together may take the memory of this many manifests of the largest size. */
const largeManifests = 8;

/** Blobs and tarballs that are sent in large chunks at the same time. Each takes up to 2 MiB. */
const maxLargeChunks = 8;

/** Tarballs that are sent at the same time. The plan of one takes up to 2 MiB. */
const maxArchives = 64;

/** A text that is made only after its memory is held. */
export interface TextAnswer {
  /** The text has at most this many bytes. */
  readonly maxBytes: number;
  readonly text: () => string;
  /** 200 by default. */
  readonly status?: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

export interface ArchiveAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly pack: Pack;
}

export interface OpenBlob {
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly body: ReadableStream<Uint8Array>;
}

export class Answers {
  readonly #layout: Layout;
  readonly #hangUp: ((c: Context) => void) | undefined;
  readonly #connections: Line;
  readonly #blobs: Line;
  readonly #textBytes: Line;
  readonly #archives: Line;
  readonly #chunkRooms: Line;

  /** `hangUp` closes a client's connection. Without it, an answer that is cut off ends with an error. */
  constructor(layout: Layout, hangUp?: (c: Context) => void) {
    this.#layout = layout;
    this.#hangUp = hangUp;
    const line = (capacity: number, units: string, limit: string): Line =>
      new Line({ capacity, units, limit, maxWaiters });
    const { store, limits } = layout;
    const { maxOpenBodies = defaultMaxOpenBodies } = store;
    this.#connections = line(maxOpenBodies, "connections to the store for blobs", "maxOpenBodies");
    this.#blobs = line(answersPerConnection * maxOpenBodies, "answers with blobs", "maxBlobAnswers");
    this.#textBytes = line(largeManifests * limits.maxManifestBytes, "bytes of large answers", "maxLargeAnswerBytes");
    this.#archives = line(maxArchives, "exports", "maxArchives");
    this.#chunkRooms = line(maxLargeChunks, "answers with large chunks", "maxLargeChunks");
  }

  /** The lines that answers share, for the metrics. */
  get lines(): Readonly<Record<string, Line>> {
    return { connections: this.#connections, blobs: this.#blobs, exports: this.#archives };
  }

  /** Opens a blob, or a range of it. Undefined if there is no such blob. Throws `TOOMANYREQUESTS`. */
  async openBlob(c: Context, digest: Digest, range?: ByteRange): Promise<OpenBlob | undefined> {
    const release = await this.#blobs.acquire(1, waiterOf(c));
    try {
      const bytes = await BlobBytes.open(this.#readerFor(c), digest, { range });
      if (bytes !== undefined) return { size: bytes.size, body: this.#stream(c, bytes, this.#blobs, release) };
    } catch (error) {
      release();
      throw error;
    }
    release();
    return undefined;
  }

  /**
   * Answers with a text. If a large text has to wait for memory, it is prepared again after the wait. So nothing is
   * held during the wait.
   */
  async sendText(c: Context, prepare: () => Promise<TextAnswer>): Promise<Response> {
    const answer = await prepare();
    const { maxBytes, text, status = 200, headers } = answer;
    if (maxBytes <= smallObjectBytes || c.req.method === "HEAD") return new Response(text(), { status, headers });
    const bytes = Math.min(maxBytes, this.#textBytes.capacity); // a larger text is sent alone
    const requester = waiterOf(c);
    const free = this.#textBytes.tryAcquire(bytes, requester);
    const release = free ?? (await this.#textBytes.acquire(bytes, requester));
    try {
      return this.#sendLarge(c, free === undefined ? await prepare() : answer, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Answers with a tarball. The answer is prepared at the caller's turn. */
  async sendArchive(c: Context, prepare: () => Promise<ArchiveAnswer | Response>): Promise<Response> {
    const release = await this.#archives.acquire(1, waiterOf(c));
    try {
      const answer = await prepare();
      if (!(answer instanceof Response)) {
        const source = new ArchiveBytes(answer.pack, this.#readerFor(c));
        return new Response(this.#stream(c, source, this.#archives, release), { headers: answer.headers });
      }
      release();
      return answer;
    } catch (error) {
      release();
      throw error;
    }
  }

  #readerFor(c: Context): BlobReader {
    return {
      store: this.#layout.store,
      connections: this.#connections,
      chunkRooms: this.#chunkRooms,
      budget: this.#layout.budget,
      ...requesterOf(c),
    };
  }

  #sendLarge(c: Context, { text, status = 200, headers }: TextAnswer, release: Release): Response {
    const bytes = Buffer.from(text());
    const body = this.#stream(c, chunksOf(bytes), this.#textBytes, release);
    return new Response(body, { status, headers: { ...headers, "Content-Length": String(bytes.length) } });
  }

  #stream(c: Context, source: AnswerSource, line: Line, release: Release): ReadableStream<Uint8Array> {
    const record = RequestRecord.of(c);
    let onEnd = (): void => undefined;
    if (record !== undefined) record.streamEnd = new Promise((resolve) => (onEnd = resolve));
    return answerStream(source, {
      caller: callerName(c),
      line,
      release: () => {
        release();
        onEnd();
      },
      signal: c.req.raw.signal,
      record,
      onCut: (error) => {
        if (record !== undefined) record.failure = error;
        this.#hangUp?.(c);
        return this.#hangUp !== undefined;
      },
    });
  }
}

function chunksOf(bytes: Uint8Array): AnswerSource {
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
