/**
 * The bytes of a blob for a client. While others wait for a connection to the store, a slow reader gives its connection
 * back. When the client reads on, the rest of the blob is requested again.
 */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { getBlob } from "../layout/blobs.ts";
import type { ByteRange, ObjectStore, StoredObject } from "../storage/object-store.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { type Line, type Release, maxTurnWaitMs } from "../streams/line.ts";
import type { AnswerSource } from "./answer-stream.ts";
import { ChunkRoom } from "./chunk-room.ts";
import { type PartHold, ReadAhead, partBytes } from "./read-ahead.ts";
import { StorePace } from "./store-pace.ts";

/**
 * The longest wait for a connection in the middle of a blob. The client already has the headers of the answer then, so
 * the request can no longer be refused.
 */
const maxResumeMs = 60_000;
/**
 * While others wait, a connection is given back after this many bytes, so that small blobs do not wait behind large
 * ones. The rest of a blob is requested in growing pieces: the first has this length, and each further one twice the
 * length before. Pieces start small because bytes that the client has not read are lost when a connection is given
 * back.
 */
const minPieceBytes = 1024 * 1024;

/** Parts of one blob that are in memory at once. They take at most half of the budget. */
const mostParts = 8;

interface Connection {
  readonly object: StoredObject;
  readonly chunks: AsyncIterator<Uint8Array>;
  /** One past the last byte that the connection brings. */
  readonly end: number;
  readonly release: Release;
}

/** The source of the blobs of one request. */
export interface BlobReader {
  readonly store: ObjectStore;
  readonly caller: string;
  readonly signal: AbortSignal;
  /** One unit is one connection to the store. */
  readonly connections: Line;
  /** One unit is memory for the large chunks of one answer. */
  readonly chunkRooms: Line;
  readonly budget: ByteBudget;
}

export class BlobBytes implements AnswerSource {
  /** Bytes of the whole blob. */
  readonly size: number;
  readonly #reader: BlobReader;
  readonly #digest: Digest;
  readonly #etag: string;
  readonly #end: number;
  readonly #room: ChunkRoom;
  #position: number;
  #pieceBytes = minPieceBytes;
  #connection: Connection | undefined;
  /** One past the last byte that is read from the connection. */
  #stop: number;
  /** Before this byte, other requests do not get the connection. */
  #turnEnd: number;
  /** The bytes behind `#stop`. Undefined while one connection is enough. */
  #ahead: ReadAhead | undefined;
  readonly #pace = new StorePace();
  /** False after reading by several connections was no faster than by one. */
  #mayReadAhead = true;

  constructor(
    reader: BlobReader,
    digest: Digest,
    { range, room, connection }: { range: ByteRange | undefined; room: ChunkRoom; connection: Connection },
  ) {
    const { size, etag } = connection.object;
    this.size = size;
    this.#reader = reader;
    this.#digest = digest;
    this.#etag = etag;
    this.#position = range?.start ?? 0;
    this.#end = connection.end;
    this.#room = room;
    this.#connection = connection;
    this.#stop = this.#end;
    this.#turnEnd = this.#position + minPieceBytes;
  }

  /**
   * Undefined if there is no such blob. Throws `TOOMANYREQUESTS` if no connection becomes free in time: in ten seconds,
   * or in a minute if `hasBegun` tells that the client has got a part of its answer.
   */
  static async open(
    reader: BlobReader,
    digest: Digest,
    { range, hasBegun = false }: { readonly range?: ByteRange | undefined; readonly hasBegun?: boolean } = {},
  ): Promise<BlobBytes | undefined> {
    const room = new ChunkRoom(reader.chunkRooms, reader.caller);
    const connection = await connect(reader, digest, {
      range,
      room,
      maxWaitMs: hasBegun ? maxResumeMs : maxTurnWaitMs,
    });
    return connection && new BlobBytes(reader, digest, { range, room, connection });
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const { connections, caller } = this.#reader;
    try {
      if (this.#connection !== undefined) {
        const hadItsTurn = this.#position >= this.#turnEnd && connections.hasWaiters;
        if (hadItsTurn || connections.isOverdrawn(caller)) await this.#disconnect();
      }
      const value = (this.#connection === undefined ? await this.#nextAhead() : undefined) ?? (await this.#nextChunk());
      if (value === undefined) {
        this.#room.leave();
        return { done: true, value };
      }
      this.#position += value.length;
      this.#room.count(value.length);
      if (this.#connection !== undefined && this.#position >= this.#stop) await this.#finish();
      else this.#readAhead();
      return { done: false, value };
    } catch (error) {
      await this.return();
      throw error;
    }
  }

  /** Gives the connection back if others wait for it. Called only between two chunks. */
  yieldToOthers(): boolean {
    const { connections, budget } = this.#reader;
    if (!connections.hasWaiters && !(this.#ahead !== undefined && budget.hasWaiters)) return false;
    this.#disconnect().catch(() => undefined); // the rest comes by another connection
    return true;
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#position = this.#end;
    this.#room.leave();
    await this.#disconnect();
    return { done: true, value: undefined };
  }

  /** Reads the next chunk from the connection. Opens one if there is none. Undefined at the end of the blob. */
  async #nextChunk(): Promise<Uint8Array | undefined> {
    this.#connection ??= this.#position < this.#end ? await this.#resume() : undefined;
    if (this.#connection === undefined) return undefined;
    const awaitedMs = performance.now();
    const next = await this.#connection.chunks.next();
    if (next.done === true) {
      await this.#finish();
      return undefined;
    }
    this.#pace.count(next.value.length, performance.now() - awaitedMs);
    return next.value.subarray(0, this.#stop - this.#position);
  }

  /** The next chunk of the parts that were read ahead. Undefined if there are none. */
  async #nextAhead(): Promise<Uint8Array | undefined> {
    const value = await this.#ahead?.next();
    if (value !== undefined) return value;
    if (this.#ahead?.isUseless === true) {
      this.#mayReadAhead = false;
      this.#pieceBytes = this.#end; // the rest in one request
    }
    this.#ahead = undefined;
    return undefined;
  }

  /**
   * If the connection is slower than the client, begins to read ahead: the connection brings the next few bytes, other
   * connections the bytes behind them.
   */
  #readAhead(): void {
    const { connections, budget } = this.#reader;
    if (!this.#mayReadAhead || !this.#pace.isSlow || this.#ahead !== undefined || connections.hasWaiters) return;
    const start = Math.min(this.#position + partBytes, this.#stop);
    const maxWidth = Math.min(mostParts, Math.floor(budget.maxBytes / 2 / partBytes));
    if (start + partBytes > this.#end || maxWidth < 2) return;
    this.#stop = start;
    this.#ahead = new ReadAhead({
      bytesPerMs: this.#pace.bytesPerMs,
      start,
      end: this.#end,
      maxWidth,
      isCrowded: () => budget.hasWaiters,
      tryHold: (bytes) => this.#tryHold(bytes),
      open: async (range) => this.#open(range),
    });
  }

  #tryHold(bytes: number): PartHold | undefined {
    const { connections, budget, caller } = this.#reader;
    const connection = connections.tryAcquire(1, { caller });
    const memory = connection && budget.tryTake(bytes, { caller });
    if (connection !== undefined && memory !== undefined) return { connection, memory };
    connection?.();
    return undefined;
  }

  async #disconnect(): Promise<void> {
    this.#ahead?.drop();
    this.#ahead = undefined;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#pieceBytes = minPieceBytes;
    connection?.release(); // before the wait below, so that the next request need not wait for the store
    await connection?.chunks.return?.();
  }

  /** Reads a body to its end: only then can the store use the connection again. A body that is cut short is closed. */
  async #finish(): Promise<void> {
    const connection = this.#connection;
    const end = connection?.end === this.#stop ? await connection.chunks.next() : undefined;
    this.#connection = undefined;
    connection?.release();
    if (end?.done !== true) await connection?.chunks.return?.(); // `return` was called meanwhile
  }

  async #resume(): Promise<Connection> {
    const { connections } = this.#reader;
    if (connections.hasWaiters) this.#pieceBytes = minPieceBytes;
    const start = this.#position;
    this.#stop = Math.min(start + this.#pieceBytes, this.#end);
    this.#pieceBytes *= 2;
    this.#turnEnd = start + minPieceBytes;
    const range = { start, end: this.#stop - 1 };
    const connection = await connect(this.#reader, this.#digest, { range, room: this.#room, maxWaitMs: maxResumeMs });
    if (connection?.object.etag === this.#etag) return connection;
    connection?.release();
    await connection?.chunks.return?.();
    throw this.#lost(start, connection?.object);
  }

  /** Opens a part. Its connection is held already. */
  async #open(range: ByteRange): Promise<AsyncIterator<Uint8Array>> {
    const { store, signal } = this.#reader;
    const object = await getBlob(store, this.#digest, { range, chunkBytes: () => partBytes, signal });
    const chunks = object?.body[Symbol.asyncIterator]();
    if (chunks !== undefined && object?.etag === this.#etag) return chunks;
    await chunks?.return?.();
    throw this.#lost(range.start, object);
  }

  #lost(start: number, found: StoredObject | undefined): StowageError {
    return new StowageError(
      "STORE_DAMAGED",
      `Cannot read on in blob "${this.#digest}" of ${this.#reader.store.url} from byte ${start}: ` +
        (found === undefined ? "it is gone" : "it was replaced"),
    );
  }
}

async function connect(
  { store, connections, caller, signal }: BlobReader,
  digest: Digest,
  { range, room, maxWaitMs }: { range: ByteRange | undefined; room: ChunkRoom; maxWaitMs: number },
): Promise<Connection | undefined> {
  const release = await connections.acquire(1, { caller, signal, maxWaitMs });
  try {
    const object = await getBlob(store, digest, { range, chunkBytes: room.chunkBytes, signal });
    if (object !== undefined) {
      const end = range === undefined ? object.size : range.end + 1;
      return { object, chunks: object.body[Symbol.asyncIterator](), end, release };
    }
  } catch (error) {
    release();
    throw error;
  }
  release();
  return undefined;
}
