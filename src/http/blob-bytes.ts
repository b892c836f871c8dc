/**
 * The bytes of a blob for a client. While others wait for a connection to the store, a slow reader gives its connection
 * back. When the client reads on, the rest of the blob is requested again.
 */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { getBlob } from "../layout/blobs.ts";
import type { ByteRange, ObjectStore, StoredObject } from "../storage/object-store.ts";
import { type Line, type Release, maxTurnWaitMs } from "../streams/line.ts";
import type { AnswerSource } from "./answer-stream.ts";
import { ChunkRoom } from "./chunk-room.ts";

/**
 * The longest wait for a connection in the middle of a blob. The headers have been sent then, so the request can no
 * longer be refused.
 */
const maxResumeMs = 60_000;
/**
 * While others wait, a connection is given back after this many bytes, so that small blobs do not wait behind large
 * ones. The first request for the rest asks for the same number of bytes, and each later request for twice the number
 * before. Requests start small because bytes that the client has not read are lost when a connection is given back.
 */
const minPieceBytes = 1024 * 1024;

interface Connection {
  readonly object: StoredObject;
  readonly chunks: AsyncIterator<Uint8Array>;
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
  /** The byte behind the last one that the connection brings. */
  #stop: number;
  /** Before this byte, other requests do not get the connection. */
  #turnEnd: number;

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
    this.#end = range === undefined ? size : range.end + 1;
    this.#room = room;
    this.#connection = connection;
    this.#stop = this.#end;
    this.#turnEnd = this.#position + minPieceBytes;
  }

  /**
   * Undefined if there is no such blob. Throws `TOOMANYREQUESTS` if no connection becomes free in time: in ten seconds, or in a
   * minute if `hasBegun` tells that the client has got a part of its answer.
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
      const hadItsTurn = this.#position >= this.#turnEnd && connections.hasWaiters;
      if (hadItsTurn || connections.isOverdrawn(caller)) await this.#disconnect();
      this.#connection ??= this.#position < this.#end ? await this.#resume() : undefined;
      if (this.#connection === undefined) {
        this.#room.leave();
        return { done: true, value: undefined };
      }
      const next = await this.#connection.chunks.next();
      if (next.done !== true) {
        this.#position += next.value.length;
        this.#room.count(next.value.length);
      }
      if (next.done === true || this.#position >= this.#stop) await this.#finish();
      return next;
    } catch (error) {
      await this.return();
      throw error;
    }
  }

  /** Called only between two chunks. */
  yieldToOthers(): boolean {
    if (!this.#reader.connections.hasWaiters) return false;
    this.#disconnect().catch(() => undefined); // the rest comes by another connection
    return true;
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.#position = this.#end;
    this.#room.leave();
    await this.#disconnect();
    return { done: true, value: undefined };
  }

  async #disconnect(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#pieceBytes = minPieceBytes;
    connection?.release(); // before the wait below, so that the next request need not wait for the store
    await connection?.chunks.return?.();
  }

  /** Reads the body to its end: only then can the store use the connection again. */
  async #finish(): Promise<void> {
    const connection = this.#connection;
    const end = await connection?.chunks.next();
    this.#connection = undefined;
    connection?.release();
    if (end?.done !== true) await connection?.chunks.return?.(); // `return` was called meanwhile
  }

  async #resume(): Promise<Connection> {
    const { connections, store } = this.#reader;
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
    const found = connection === undefined ? "it is gone" : "it was replaced";
    throw new StowageError(
      "STORE_DAMAGED",
      `Cannot read on in blob "${this.#digest}" of ${store.url} from byte ${start}: ${found}`,
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
    if (object !== undefined) return { object, chunks: object.body[Symbol.asyncIterator](), release };
  } catch (error) {
    release();
    throw error;
  }
  release();
  return undefined;
}
