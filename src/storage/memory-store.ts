/** A store in memory, for tests and `memory:`. Its objects are lost when the process ends. */
import { Buffer } from "node:buffer";
import { StowageError } from "../errors.ts";
import { abortable } from "../streams/abortable.ts";
import {
  type ByteRange,
  type ByteSource,
  type CallOptions,
  type CopyOptions,
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutCondition,
  type PutOptions,
  type PutResult,
  type StoredObject,
  type WriteOptions,
  type WriteResult,
  writeResultOf,
} from "./object-store.ts";
import { holds } from "./settle-write.ts";
import { WrittenBody } from "./written-body.ts";

/** How a store in memory differs from others. */
export interface MemoryStoreOptions {
  /** See `ObjectStore.partBytes`. Small parts make tests of streamed blobs cheap. */
  readonly partBytes?: number;
}

interface MemoryObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly modifiedMs: number;
}

const defaultPartBytes = 8 * 1024 * 1024;
/** Length of the chunks in which objects are read. */
const readBytes = 256 * 1024;

/** A store in memory. Nothing is kept when the process ends. */
export class MemoryStore implements ObjectStore {
  readonly url = "memory:";
  readonly partBytes: number;
  readonly #objects = new Map<string, MemoryObject>();
  #writes = 0;

  constructor({ partBytes = defaultPartBytes }: MemoryStoreOptions = {}) {
    this.partBytes = partBytes;
  }

  /** No buffer: the bytes are held as the object. */
  writeBufferBytes(): number {
    return 0;
  }

  copyBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ListedObject | undefined> {
    await settled(signal);
    const object = this.#objects.get(key);
    return object && infoOf(key, object);
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    await settled(signal);
    const object = this.#objects.get(key);
    return object && { ...infoOf(key, object), body: abortable(chunksOf(object.bytes, range), signal) };
  }

  async put(key: string, bytes: Uint8Array, { condition, signal }: PutOptions = {}): Promise<PutResult> {
    await settled(signal);
    return this.#put(key, Uint8Array.from(bytes), condition);
  }

  async write(key: string, source: ByteSource, options: WriteOptions = {}): Promise<WriteResult> {
    const { condition, signal } = options;
    await settled(signal);
    const chunks: Uint8Array[] = [];
    // Copies each chunk: the object shares no memory with its source.
    for await (const chunk of new WrittenBody(key, source, signal).chunks) chunks.push(Uint8Array.from(chunk));
    return writeResultOf(this.#put(key, Buffer.concat(chunks), condition));
  }

  async copy(from: string, to: string, { condition, signal }: CopyOptions): Promise<WriteResult> {
    await settled(signal);
    const source = this.#objects.get(from);
    if (source !== undefined) return writeResultOf(this.#put(to, source.bytes, condition));
    throw new StowageError("STORE_UNAVAILABLE", `Cannot copy "${from}" in ${this.url}: it is not there`);
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ListedObject> {
    await settled(signal);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix));
    for (const key of keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
      signal?.throwIfAborted();
      const object = this.#objects.get(key);
      if (object !== undefined) yield infoOf(key, object);
    }
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<undefined> {
    await settled(signal);
    this.#objects.delete(key);
  }

  #put(key: string, bytes: Uint8Array, condition: PutCondition | undefined): { readonly etag: string } | "conflict" {
    if (condition !== undefined && !holds(condition, this.#objects.get(key))) return "conflict";
    this.#writes++;
    const etag = String(this.#writes);
    this.#objects.set(key, { bytes, etag, modifiedMs: Date.now() });
    return { etag };
  }
}

/**
 * Answers only after an `await`, as every other store does. So tests find a caller that relies on an immediate answer.
 */
async function settled(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await Promise.resolve();
}

function infoOf(key: string, { bytes, etag, modifiedMs }: MemoryObject): ListedObject {
  return { key, size: bytes.length, etag, modifiedMs };
}

/** Yields copies, so that no reader can change the stored object. */
async function* chunksOf(bytes: Uint8Array, range: ByteRange | undefined): AsyncGenerator<Uint8Array> {
  const end = range === undefined ? bytes.length : range.end + 1;
  for (let start = range?.start ?? 0; start < end; start += readBytes) {
    await Promise.resolve();
    yield bytes.slice(start, Math.min(start + readBytes, end));
  }
}
