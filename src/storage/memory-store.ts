/** A store in memory, for tests and `memory:`. What it holds is gone with the process. */
import { Buffer } from "node:buffer";
import { StowageError } from "../errors.ts";
import { abortable } from "../streams/abortable.ts";
import { blobKey } from "./keys.ts";
import type {
  BlobIdentity,
  BlobSource,
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PutBlobOptions,
  PutBlobResult,
  PutCondition,
  StagedResult,
  StagedSource,
  StoredObject,
} from "./object-store.ts";

/** How a store in memory differs from others. */
export interface MemoryStoreOptions {
  /** See `ObjectStore.partBytes`; smaller ones make tests of streamed blobs cheap. */
  readonly partBytes?: number;
}

interface MemoryObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
}

const defaultPartBytes = 8 * 1024 * 1024;
/** Length of the chunks in which objects are read. */
const readBytes = 256 * 1024;

/** A store in memory: what it holds is gone with the process. */
export class MemoryStore implements ObjectStore {
  readonly url = "memory:";
  readonly partBytes: number;
  readonly #objects = new Map<string, MemoryObject>();
  #writes = 0;

  constructor({ partBytes = defaultPartBytes }: MemoryStoreOptions = {}) {
    this.partBytes = partBytes;
  }

  /** Nothing beside what becomes the object. */
  streamBufferBytes(): number {
    return 0;
  }

  promoteBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
    await settled(signal);
    const object = this.#objects.get(key);
    return object && infoOf(key, object);
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    await settled(signal);
    const object = this.#objects.get(key);
    return object && { ...infoOf(key, object), body: abortable(chunksOf(object.bytes, range), signal) };
  }

  async putBlob({ digest, size, body }: BlobSource, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const { replaces, signal } = options;
    await settled(signal);
    const bytes = body instanceof Uint8Array ? Uint8Array.from(body) : await collect(body, signal);
    checkSize(`blob "${digest}"`, { received: bytes.length, expected: size });
    return this.#create(blobKey(digest), bytes, replaces);
  }

  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    { signal }: CallOptions = {},
  ): Promise<{ readonly etag: string } | "conflict"> {
    await settled(signal);
    const expected = condition === "absent" ? undefined : condition.etag;
    if (this.#objects.get(key)?.etag !== expected) return "conflict";
    return { etag: this.#write(key, Uint8Array.from(bytes)) };
  }

  async put(key: string, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    await settled(signal);
    this.#write(key, Uint8Array.from(bytes));
  }

  async putStaged({ key, size, body }: StagedSource, { signal }: CallOptions = {}): Promise<StagedResult> {
    await settled(signal);
    const bytes = await collect(body, signal);
    checkSize(JSON.stringify(key), { received: bytes.length, expected: size });
    this.#write(key, bytes);
    return { parts: 0 };
  }

  async promote(stagedKey: string, { digest }: BlobIdentity, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const { replaces, signal } = options;
    await settled(signal);
    const staged = this.#objects.get(stagedKey);
    if (staged !== undefined) return this.#create(blobKey(digest), staged.bytes, replaces);
    throw new StowageError("STORE_UNAVAILABLE", `Cannot copy "${stagedKey}" in ${this.url}: it is not there`);
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    await settled(signal);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix));
    for (const key of keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
      signal?.throwIfAborted();
      const object = this.#objects.get(key);
      if (object !== undefined) yield infoOf(key, object);
    }
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    await settled(signal);
    this.#objects.delete(key);
  }

  #create(key: string, bytes: Uint8Array, replaces: string | undefined): PutBlobResult {
    const present = this.#objects.get(key);
    if (present !== undefined && present.etag !== replaces) return { outcome: "present", parts: 0 };
    this.#write(key, bytes);
    return { outcome: "written", parts: 0 };
  }

  #write(key: string, bytes: Uint8Array): string {
    this.#writes++;
    const etag = String(this.#writes);
    this.#objects.set(key, { bytes, etag });
    return etag;
  }
}

/** Answers as late as a store with a disk does, so that whoever relies on an immediate answer is found out. */
async function settled(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await Promise.resolve();
}

function infoOf(key: string, { bytes, etag }: MemoryObject): ObjectInfo {
  return { key, size: bytes.length, etag };
}

function checkSize(what: string, { received, expected }: { received: number; expected: number }): void {
  if (received === expected) return;
  const message = `Cannot store ${what}: received ${received} bytes, expected ${expected}`;
  throw new StowageError("SIZE_INVALID", message, { detail: { received, expected } });
}

async function collect(body: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  // Copied: a source may fill the same buffer again.
  for await (const chunk of abortable(body, signal)) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks);
}

/** Copies, so that no reader can change what is stored. */
async function* chunksOf(bytes: Uint8Array, range: ByteRange | undefined): AsyncGenerator<Uint8Array> {
  const end = range === undefined ? bytes.length : range.end + 1;
  for (let start = range?.start ?? 0; start < end; start += readBytes) {
    await Promise.resolve();
    yield bytes.slice(start, Math.min(start + readBytes, end));
  }
}
