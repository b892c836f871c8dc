/**
 * A store that nothing is written to before it has passed the probe: one that ignores conditional writes would lose
 * images in silence. Reads pass at once.
 */
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
import { probeStore } from "./probe-store.ts";

/** Wraps a store. The first write probes it, once for the process; a probe that failed is tried again by the next. */
export function guardStore(store: ObjectStore): ObjectStore {
  return new GuardedStore(store);
}

class GuardedStore implements ObjectStore {
  readonly #store: ObjectStore;
  #probe: Promise<void> | undefined;

  constructor(store: ObjectStore) {
    this.#store = store;
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
    return this.#store.head(key, options);
  }

  get(key: string, options?: GetOptions): Promise<StoredObject | undefined> {
    return this.#store.get(key, options);
  }

  async putBlob(blob: BlobSource, options?: PutBlobOptions): Promise<PutBlobResult> {
    await this.#passed();
    return this.#store.putBlob(blob, options);
  }

  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    options?: CallOptions,
  ): Promise<{ readonly etag: string } | "conflict"> {
    await this.#passed();
    return this.#store.putIf(key, bytes, condition, options);
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix, options);
  }

  async delete(key: string, options?: CallOptions): Promise<void> {
    await this.#passed();
    return this.#store.delete(key, options);
  }

  async #passed(): Promise<void> {
    this.#probe ??= probeStore(this.#store);
    try {
      await this.#probe;
    } catch (error) {
      this.#probe = undefined;
      throw error;
    }
  }
}
