/**
 * A bucket of Cloudflare R2, or a prefix of one, by the binding that a Worker has. Conditional writes are R2's own; a blob
 * that is larger than a part goes up in parts, straight to its final key.
 */
import { messageOf, StowageError } from "../../errors.ts";
import { hexOf } from "../../oci/descriptor.ts";
import { abortable } from "../../streams/abortable.ts";
import { verifyBytes } from "../../streams/verify-bytes.ts";
import { blobKey } from "../keys.ts";
import type {
  BlobIdentity,
  BlobSource,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PutBlobOptions,
  PutBlobResult,
  PutCondition,
  SendOptions,
  StagedResult,
  StagedSource,
  StoredObject,
} from "../object-store.ts";
import { readR2Body } from "./r2-body.ts";
import type { R2Bucket, R2Object, R2PutOptions } from "./r2-bucket.ts";
import { type R2Call, askR2, r2Unavailable } from "./r2-errors.ts";
import { type UploadPartsOptions, collectWhole, uploadParts } from "./r2-upload.ts";

/** The least that R2 takes: a Worker has little memory. */
const defaultPartBytes = 5 * 1024 * 1024;
/** Parts of one blob in memory at once: one that is being filled, the others under way. */
const defaultQueueSize = 4;
/** More parts R2 does not take in one upload; a blob that would need more gets larger ones. */
const maxParts = 10_000;
/** Object metadata that names a conditional write. */
const writeIdName = "stowage-write";

/** Which bucket, and what it is called. */
export interface R2StoreOptions {
  readonly bucket: R2Bucket;
  /** The binding's name, for messages. */
  readonly binding: string;
  /** Where in the bucket everything lies, such as `images/prod`; without it, the whole bucket. */
  readonly prefix?: string | undefined;
  /** Bytes of a part, at least 5 MiB, which is R2's own limit. */
  readonly partBytes?: number;
  readonly queueSize?: number;
}

/** A bucket of R2, or a prefix of one, as a store. */
export class R2Store implements ObjectStore {
  readonly url: string;
  readonly partBytes: number;
  readonly #bucket: R2Bucket;
  /** Empty, or ends with `/`. */
  readonly #prefix: string;
  readonly #queueSize: number;

  constructor({ bucket, binding, prefix = "", partBytes, queueSize }: R2StoreOptions) {
    const path = prefix.replace(/^\/+|\/+$/g, "");
    this.url = path === "" ? `r2:${binding}` : `r2:${binding}/${path}`;
    this.partBytes = partBytes ?? defaultPartBytes;
    this.#bucket = bucket;
    this.#prefix = path === "" ? "" : `${path}/`;
    this.#queueSize = queueSize ?? defaultQueueSize;
  }

  streamBufferBytes(size: number): number {
    return Math.min(size, this.#queueSize * this.#partBytesOf(size));
  }

  promoteBufferBytes(size: number): number {
    return this.streamBufferBytes(size);
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await this.#head(key, signal);
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    const call = this.#call("get", key, signal);
    const part = range && { range: { offset: range.start, length: range.end - range.start + 1 } };
    const { value: object } = await askR2(call, async () => {
      const answer = await this.#bucket.get(this.#at(key), part);
      if (signal?.aborted) await answer?.body.cancel(); // nobody waits for it any more
      return answer;
    });
    if (object === null) return undefined;
    const { size, etag, body } = object;
    const end = Math.min(range === undefined ? size : range.end + 1, size);
    return { key, size, etag, body: readR2Body(body, { call, size: end - (range?.start ?? 0) }) };
  }

  async putBlob(blob: BlobSource, { replaces, signal }: PutBlobOptions = {}): Promise<PutBlobResult> {
    if (blob.body instanceof Uint8Array) return this.#putWhole(blob, blob.body, { replaces, signal });
    if (blob.size > this.partBytes) return this.#putStreamed(blob, blob.body, { replaces, signal });
    const bytes = await collectWhole(abortable(blob.body, signal), blob.size);
    return this.#putWhole(blob, bytes, { replaces, signal });
  }

  /**
   * Each write carries an id of its own in its metadata, so that it is known for what it is where its answer was lost, or
   * was an answer to a second try. `conflict` is answered all the same if others have written since then.
   */
  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    { signal, once }: SendOptions = {},
  ): Promise<{ readonly etag: string } | "conflict"> {
    const writeId = crypto.randomUUID();
    const options = { onlyIf: onlyIf(condition), customMetadata: { [writeIdName]: writeId } };
    const wasMine = async (): Promise<R2Object | undefined> => {
      const found = await this.#head(key, signal);
      return found?.customMetadata?.[writeIdName] === writeId ? found : undefined;
    };
    try {
      const { value, wasRetried } = await this.#put(key, bytes, { ...options, signal, once });
      const written = value ?? (wasRetried ? await wasMine() : undefined);
      return written === undefined ? "conflict" : { etag: written.etag };
    } catch (error) {
      signal?.throwIfAborted();
      const written = await wasMine();
      if (written === undefined) throw error;
      return { etag: written.etag };
    }
  }

  async put(key: string, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    await this.#put(key, bytes, { signal });
  }

  async putStaged({ key, size, body }: StagedSource, { signal }: CallOptions = {}): Promise<StagedResult> {
    if (size > this.partBytes) {
      // Nobody else writes there: what lies there is what an answer that was lost had completed.
      const isWanted = async (): Promise<boolean> => (await this.#head(key, signal)) === undefined;
      const { parts } = await this.#upload(body, { key, size, isWanted, signal });
      return { parts };
    }
    const bytes = await collectWhole(abortable(body, signal), size);
    await this.#put(key, bytes, { signal });
    return { parts: 0 };
  }

  /** By its binding R2 copies nothing: the bytes come here, are verified once more, and go back. */
  async promote(stagedKey: string, blob: BlobIdentity, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const staged = await this.get(stagedKey, options);
    if (staged === undefined) throw r2Unavailable(new Error("it is not there"), this.#call("get", stagedKey));
    try {
      return await this.putBlob({ ...blob, body: this.#verified(staged, blob) }, options);
    } finally {
      await staged.body[Symbol.asyncIterator]().return?.(); // also where nobody began to read it
    }
  }

  /** Asks for pages of up to 1,000 as they are needed. */
  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    const call = this.#call("list", prefix, signal);
    let cursor: string | undefined;
    do {
      const page = { prefix: this.#at(prefix), ...(cursor !== undefined && { cursor }) };
      const { value } = await askR2(call, () => this.#bucket.list(page));
      for (const { key, size, etag } of value.objects) yield { key: key.slice(this.#prefix.length), size, etag };
      cursor = value.truncated ? value.cursor : undefined;
    } while (cursor !== undefined);
  }

  async delete(key: string, { signal, once }: SendOptions = {}): Promise<void> {
    await askR2({ ...this.#call("delete", key, signal), once }, () => this.#bucket.delete(this.#at(key)));
  }

  /** One request, with the digest, so that R2 verifies the bytes too. */
  async #putWhole(blob: BlobSource, bytes: Uint8Array, { replaces, signal }: PutBlobOptions): Promise<PutBlobResult> {
    const key = blobKey(blob.digest);
    const condition = replaces === undefined ? "absent" : { etag: replaces };
    const options = { sha256: hexOf(blob.digest), onlyIf: onlyIf(condition), signal };
    const { value, wasRetried } = await this.#put(key, bytes, options);
    if (value !== null) return { outcome: "written", parts: 0 };
    const found = await this.#head(key, signal);
    if (found === undefined) {
      const reason = new Error("another object lay there, and is gone");
      throw r2Unavailable(reason, this.#call("put", key));
    }
    this.#checkFound(blob, found);
    return { outcome: wasRetried ? "written" : "present", parts: 0 };
  }

  /**
   * R2 completes an upload without any condition, so what is there is looked at just before. Who completes the same blob
   * between the two is no harm: under a digest there is one content, and whoever reads it finds the one or the other whole.
   */
  async #putStreamed(
    blob: BlobSource,
    body: AsyncIterable<Uint8Array>,
    { replaces, signal }: PutBlobOptions,
  ): Promise<PutBlobResult> {
    const { size } = blob;
    const key = blobKey(blob.digest);
    const isWanted = async (): Promise<boolean> => {
      const found = await this.#head(key, signal);
      if (found === undefined || found.etag === replaces) return true;
      this.#checkFound(blob, found);
      return false;
    };
    return this.#upload(body, { key, size, isWanted, signal });
  }

  async #upload(
    body: AsyncIterable<Uint8Array>,
    { key, size, isWanted, signal }: Pick<UploadPartsOptions, "key" | "size" | "isWanted"> & CallOptions,
  ): Promise<PutBlobResult> {
    const partBytes = this.#partBytesOf(size);
    const outcome = await uploadParts(body, {
      bucket: this.#bucket,
      key: this.#at(key),
      size,
      partBytes,
      queueSize: this.#queueSize,
      call: this.#call("upload", key, signal),
      isWanted,
    });
    return { outcome, parts: Math.ceil(size / partBytes) };
  }

  /** What was hashed when it was staged: if it is another now, the store is to blame, and not whoever sent it. */
  async *#verified({ key, body }: StoredObject, blob: BlobIdentity): AsyncGenerator<Uint8Array> {
    try {
      yield* verifyBytes(body, blob);
    } catch (error) {
      const isWrong = error instanceof StowageError && /^(?:DIGEST|SIZE)_INVALID$/.test(error.code);
      if (!isWrong) throw error;
      const message = `Cannot use "${key}" in ${this.url}: it has changed since it was written (${messageOf(error)})`;
      throw new StowageError("STORE_DAMAGED", message, { cause: error, detail: { ...error.detail, key } });
    }
  }

  /** Throws if the object that was in a blob's way cannot be that blob. */
  #checkFound({ digest, size }: BlobSource, found: R2Object): void {
    if (found.size === size) return;
    throw new StowageError(
      "STORE_DAMAGED",
      `Cannot store blob "${digest}" in ${this.url}: an object of ${found.size} bytes lies there, expected ${size}`,
      { detail: { digest, found: found.size, expected: size } },
    );
  }

  async #head(key: string, signal: AbortSignal | undefined): Promise<R2Object | undefined> {
    const { value } = await askR2(this.#call("head", key, signal), () => this.#bucket.head(this.#at(key)));
    return value ?? undefined;
  }

  #put(
    key: string,
    bytes: Uint8Array,
    { signal, once, ...options }: R2PutOptions & SendOptions,
  ): ReturnType<typeof askR2<R2Object | null>> {
    return askR2({ ...this.#call("put", key, signal), once }, () => this.#bucket.put(this.#at(key), bytes, options));
  }

  #partBytesOf(size: number): number {
    return Math.max(this.partBytes, Math.ceil(size / maxParts));
  }

  #at(key: string): string {
    return this.#prefix + key;
  }

  #call(operation: string, key: string, signal?: AbortSignal): R2Call {
    return { url: this.url, operation, key, signal };
  }
}

/** As a header, since not every R2 has taken `etagDoesNotMatch: "*"` for more than the name of one state. */
function onlyIf(condition: PutCondition): { readonly etagMatches: string } | Headers {
  return condition === "absent" ? new Headers({ "If-None-Match": "*" }) : { etagMatches: condition.etag };
}
