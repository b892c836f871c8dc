/** Counts what one load asks of a store, for its receipt: a decorator over the same interface. */
import type {
  BlobSource,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PutBlobOptions,
  PutBlobResult,
  PutCondition,
  StoredObject,
} from "./object-store.ts";

/**
 * Requests by kind, as a bucket would bill them. `put` has the two that open and complete an upload in parts, `part` its
 * parts; a listing counts once, however many pages it takes; what a store asks again by itself is not counted.
 */
export interface RequestCounts {
  readonly head: number;
  readonly get: number;
  readonly put: number;
  readonly part: number;
  readonly copy: number;
  readonly list: number;
  readonly delete: number;
}

export class CountingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #requests = { head: 0, get: 0, put: 0, part: 0, copy: 0, list: 0, delete: 0 };

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  /** The counts as they are now. */
  get requests(): RequestCounts {
    return { ...this.#requests };
  }

  get url(): string {
    return this.#store.url;
  }

  get partBytes(): number {
    return this.#store.partBytes;
  }

  streamBufferBytes(size: number): number {
    return this.#store.streamBufferBytes(size);
  }

  head(key: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    this.#requests.head += 1;
    return this.#store.head(key, options);
  }

  get(key: string, options?: GetOptions): Promise<StoredObject | undefined> {
    this.#requests.get += 1;
    return this.#store.get(key, options);
  }

  /** In how many parts a blob goes is known once it has gone, so it counts then. */
  async putBlob(blob: BlobSource, options?: PutBlobOptions): Promise<PutBlobResult> {
    const result = await this.#store.putBlob(blob, options);
    this.#requests.put += result.parts === 0 ? 1 : 2;
    this.#requests.part += result.parts;
    return result;
  }

  putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    options?: CallOptions,
  ): Promise<{ readonly etag: string } | "conflict"> {
    this.#requests.put += 1;
    return this.#store.putIf(key, bytes, condition, options);
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo> {
    this.#requests.list += 1;
    return this.#store.list(prefix, options);
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    this.#requests.delete += 1;
    return this.#store.delete(key, options);
  }
}
