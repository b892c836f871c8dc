/**
 * The bytes of a blob on their way to a client. A client that reads slowly need not hold a connection to the store: the
 * connection is given back while others wait for one, and the rest of the blob is asked for once the client reads on.
 */
import { StowageError } from "../errors.ts";
import { getBlob } from "../layout/blobs.ts";
import type { ByteRange, ObjectStore, StoredObject } from "../storage/object-store.ts";
import { type Line, type Release, maxTurnWaitMs } from "../streams/line.ts";

/** The longest wait for a connection in the middle of a blob. Its headers are sent by then: it can no longer be refused. */
const maxResumeMs = 60_000;
/**
 * Bytes of a turn. While others wait, a connection is given back after so many: of a crowd that asks for large blobs, nobody
 * holds up those who ask for little. The first request for the rest asks for as many, each further one for twice as many. What the store has
 * sent of a request and the client has not read is lost when the connection is given back.
 */
const minPieceBytes = 1024 * 1024;

export interface BlobBytesOptions {
  readonly store: ObjectStore;
  readonly digest: string;
  readonly range: ByteRange | undefined;
  readonly connections: Line;
  readonly caller: string;
  readonly signal: AbortSignal;
}

interface Connection {
  /** The first byte that it does not bring. */
  readonly stop: number;
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly release: Release;
}

export class BlobBytes implements AsyncIterator<Uint8Array> {
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly #options: BlobBytesOptions;
  readonly #etag: string;
  readonly #end: number;
  #position: number;
  #pieceBytes = minPieceBytes;
  #connection: Connection | undefined;
  /** Up to here the connection is not given back for others' sake. */
  #turnEnd: number;

  constructor(options: BlobBytesOptions, { size, etag }: StoredObject, connection: Connection) {
    this.size = size;
    this.#options = options;
    this.#etag = etag;
    this.#position = options.range?.start ?? 0;
    this.#end = options.range === undefined ? size : options.range.end + 1;
    this.#connection = connection;
    this.#turnEnd = this.#position + minPieceBytes;
  }

  /** Undefined if there is no such blob. Throws `TOOMANYREQUESTS` if no connection is to be had. */
  static async open(options: BlobBytesOptions): Promise<BlobBytes | undefined> {
    const opened = await connect(options, { range: options.range });
    if (opened === undefined) return undefined;
    const stop = options.range === undefined ? opened.object.size : options.range.end + 1;
    return new BlobBytes(options, opened.object, { ...opened, stop });
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const { connections, caller } = this.#options;
    try {
      const hadItsTurn = this.#position >= this.#turnEnd && connections.hasWaiters;
      if (hadItsTurn || connections.isOverdrawn(caller)) await this.rest();
      this.#connection ??= this.#position < this.#end ? await this.#resume() : undefined;
      if (this.#connection === undefined) return { done: true, value: undefined };
      const next = await this.#connection.chunks.next();
      if (next.done !== true) this.#position += next.value.length;
      if (next.done === true || this.#position >= this.#connection.stop) await this.#finish();
      return next;
    } catch (error) {
      await this.return();
      throw error;
    }
  }

  /** Gives the connection back until the next chunk is asked for. Only between two chunks. */
  async rest(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#pieceBytes = minPieceBytes;
    connection?.release(); // first: whoever waits is served before others give way as well
    await connection?.chunks.return?.();
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#position = this.#end;
    await this.rest();
    return { done: true, value: undefined };
  }

  /** Lets the store end the body by itself: a connection that is closed instead is not used again. */
  async #finish(): Promise<void> {
    const connection = this.#connection;
    const end = await connection?.chunks.next();
    this.#connection = undefined;
    connection?.release();
    if (end?.done !== true) await connection?.chunks.return?.(); // the reader has left meanwhile
  }

  async #resume(): Promise<Connection> {
    const { connections, digest, store } = this.#options;
    if (connections.hasWaiters) this.#pieceBytes = minPieceBytes;
    const stop = Math.min(this.#position + this.#pieceBytes, this.#end);
    this.#pieceBytes *= 2;
    this.#turnEnd = this.#position + minPieceBytes;
    const range = { start: this.#position, end: stop - 1 };
    const opened = await connect(this.#options, { range, maxWaitMs: maxResumeMs });
    if (opened?.object.etag === this.#etag) return { ...opened, stop };
    opened?.release();
    await opened?.chunks.return?.();
    const found = opened === undefined ? "it is gone" : "it was replaced";
    throw new StowageError(
      "STORE_DAMAGED",
      `Cannot read on in blob "${digest}" of ${store.url} from byte ${this.#position}: ${found}`,
    );
  }
}

async function connect(
  { store, digest, connections, caller, signal }: BlobBytesOptions,
  { range, maxWaitMs = maxTurnWaitMs }: { readonly range: ByteRange | undefined; readonly maxWaitMs?: number },
): Promise<(Omit<Connection, "stop"> & { readonly object: StoredObject }) | undefined> {
  const release = await connections.acquire(1, { caller, signal, maxWaitMs });
  try {
    const object = await getBlob(store, digest, { range, signal });
    if (object !== undefined) return { object, chunks: object.body[Symbol.asyncIterator](), release };
  } catch (error) {
    release();
    throw error;
  }
  release();
  return undefined;
}
