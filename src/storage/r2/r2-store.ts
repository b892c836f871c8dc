/**
 * A bucket of Cloudflare R2 that is bound to a Worker, or a prefix of one, as a store. R2 itself checks the conditions
 * of writes.
 */
import { messageOf, StowageError } from "../../errors.ts";
import { type ExpectedBytes, VerifiedBytes } from "../../streams/verify-bytes.ts";
import { WatchedSource } from "../../streams/watched-source.ts";
import { partBytesOf } from "../multipart-upload.ts";
import { PartMemory } from "../part-memory.ts";
import {
  type ByteSource,
  type CallOptions,
  type CopyOptions,
  type GetOptions,
  type ListedObject,
  type ObjectInfo,
  type ObjectStore,
  type PutOptions,
  type PutResult,
  type SendOptions,
  type StoredObject,
  type Unanswered,
  type WriteOptions,
  type WriteResult,
} from "../object-store.ts";
import type { R2Bucket } from "./r2-bucket.ts";
import { getR2Object, headR2Object, listR2Objects } from "./r2-read.ts";
import { type R2Request, askR2, isPassing, r2Unavailable } from "./r2-request.ts";
import { putR2Object, writeR2Object } from "./r2-write.ts";

/** R2's smallest part size: a Worker has little memory. */
const defaultPartBytes = 5 * 1024 * 1024;
/** Parts of one stream that are in memory at once: one is being filled, the others are being sent. */
const partsInMemory = 4;

/** The bucket and its names. */
export interface R2StoreOptions {
  readonly bucket: R2Bucket;
  /** The binding's name, for messages. */
  readonly binding: string;
  /** The prefix of all objects in the bucket, such as `images/prod`. By default the store uses the whole bucket. */
  readonly prefix?: string | undefined;
  /** Bytes of a part. R2 requires at least 5 MiB. */
  readonly partBytes?: number;
}

/** A bucket of R2, or a prefix of one, as a store. */
export class R2Store implements ObjectStore {
  readonly url: string;
  readonly partBytes: number;
  readonly #bucket: R2Bucket;
  /** Empty, or ends with `/`. */
  readonly #prefix: string;

  constructor({ bucket, binding, prefix = "", partBytes }: R2StoreOptions) {
    const path = prefix.replace(/^\/+|\/+$/g, "");
    this.url = path === "" ? `r2:${binding}` : `r2:${binding}/${path}`;
    this.partBytes = partBytes ?? defaultPartBytes;
    this.#bucket = bucket;
    this.#prefix = path === "" ? "" : `${path}/`;
  }

  writeBufferBytes(size: number | undefined): number {
    return Math.min(size ?? Infinity, partsInMemory * partBytesOf(size, this.partBytes));
  }

  copyBufferBytes(size: number): number {
    return this.writeBufferBytes(size);
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await headR2Object(this.#request("head", key, { signal }));
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    return getR2Object(this.#request("get", key, { signal }), range);
  }

  async put(key: string, bytes: Uint8Array, { condition, digest, once, signal }: PutOptions = {}): Promise<PutResult> {
    return putR2Object(bytes, { ...this.#request("put", key, { once, signal }), condition, digest });
  }

  async write(key: string, source: ByteSource, options: WriteOptions = {}): Promise<WriteResult> {
    const { condition, signal } = options;
    const partBytes = partBytesOf(source.size, this.partBytes);
    const memory = new PartMemory({ partBytes, leastParts: partsInMemory });
    return writeR2Object(source, { ...this.#request("upload", key, { signal }), condition, partBytes, memory });
  }

  /** Reads, verifies and writes the bytes: an R2 binding cannot copy. */
  async copy(from: string, to: string, { size, digest, ...options }: CopyOptions): Promise<WriteResult> {
    const source = await this.get(from, options);
    if (source === undefined) throw r2Unavailable(new Error("it is not there"), this.#request("get", from));
    try {
      const body = digest === undefined ? source.body : this.#verified(source, { digest, size });
      return await this.write(to, { size, body }, options);
    } finally {
      await source.body[Symbol.asyncIterator]().return?.(); // also before its first read
    }
  }

  list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ListedObject> {
    return listR2Objects(this.#request("list", prefix, { signal }), this.#prefix);
  }

  async delete(key: string, { signal, once = false }: SendOptions = {}): Promise<Unanswered | undefined> {
    const request = this.#request("delete", key, { once, signal });
    try {
      await askR2(request, () => this.#bucket.delete(request.at));
    } catch (error) {
      signal?.throwIfAborted();
      const failure = r2Unavailable(error, request);
      if (!once || !isPassing(error)) throw failure;
      return { unanswered: failure };
    }
    return undefined;
  }

  /**
   * Verifies stored bytes. They were right when they were written. So a difference is an error of the store, and not of
   * the sender.
   */
  #verified({ key, body }: StoredObject, expected: ExpectedBytes): WatchedSource {
    return new WatchedSource(new VerifiedBytes(body, expected)).watch({
      onFailure: (error) => {
        const isWrong = error instanceof StowageError && /^(?:DIGEST|SIZE)_INVALID$/.test(error.code);
        if (!isWrong) return error;
        const message = `Cannot use "${key}" in ${this.url}: it has changed since it was written (${messageOf(error)})`;
        return new StowageError("STORE_DAMAGED", message, { cause: error, detail: { ...error.detail, key } });
      },
    });
  }

  #request(operation: string, key: string, options: SendOptions = {}): R2Request {
    return { ...options, bucket: this.#bucket, at: this.#prefix + key, key, url: this.url, operation };
  }
}
