/**
 * A bucket, or a prefix of one, as a store. Conditional writes are S3's own; a blob that is larger than a part goes up by
 * lib-storage's `Upload`, straight to its final key.
 */
import { type S3Client, DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { Buffer } from "node:buffer";
import { hexOf } from "../../oci/descriptor.ts";
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
import { copyS3Object, maxCopyBytes } from "./s3-copy.ts";
import {
  type S3Call,
  blobDamaged,
  isAbsent,
  isLostRace,
  isUndecided,
  storeUnavailable,
  wasRetried,
} from "./s3-errors.ts";
import { conditionHeaders, holds, infoOf } from "./s3-headers.ts";
import { listS3Objects } from "./s3-list.ts";
import { onceOptions, onlyOnce } from "./s3-once.ts";
import { S3Presigner } from "./s3-presigner.ts";
import { type ReadOptions, type S3ObjectInfo, getS3Object, headS3Object } from "./s3-read.ts";
import { settleBlobWrite } from "./s3-settle.ts";
import { withSignal } from "./s3-signal.ts";
import { type UploadFailure, uploadStream } from "./s3-upload.ts";

/** The least that S3 takes: larger parts were no faster when measured, and a streamed blob holds six of them. */
const defaultPartBytes = 5 * 1024 * 1024;
/** Parts of one blob on their way at once. */
const defaultQueueSize = 4;
/** More parts S3 does not take in one upload; a blob that would need more gets larger ones. */
const maxParts = 10_000;
/** Object metadata that names a conditional write. */
const writeIdName = "stowage-write";

/** Which bucket, and how it is reached. */
export interface S3StoreOptions {
  /** Made by `createS3Client`, which tunes it. */
  readonly client: S3Client;
  readonly bucket: string;
  /** Where in the bucket everything lies, such as `images/prod`; without it, the whole bucket. */
  readonly prefix?: string | undefined;
  /** Bytes of a part, at least 5 MiB, which is S3's own limit. */
  readonly partBytes?: number;
  readonly queueSize?: number | undefined;
  /** Bytes of an object that S3 copies in one request; a larger one it copies in parts of so many. */
  readonly copyBytes?: number;
  /** Signs URLs for where clients reach the bucket; without one there are none. */
  readonly presignClient?: S3Client | undefined;
}

/** A bucket of S3, or a prefix of one, as a store. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly partBytes: number;
  readonly presigner: S3Presigner | undefined;
  readonly #client: S3Client;
  readonly #bucket: string;
  /** Empty, or ends with `/`. */
  readonly #prefix: string;
  readonly #queueSize: number;
  readonly #copyBytes: number;

  constructor({ client, bucket, prefix = "", partBytes, queueSize, copyBytes, presignClient }: S3StoreOptions) {
    const path = prefix.replace(/^\/+|\/+$/g, "");
    this.url = path === "" ? `s3://${bucket}` : `s3://${bucket}/${path}`;
    this.partBytes = partBytes ?? defaultPartBytes;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = path === "" ? "" : `${path}/`;
    this.#queueSize = queueSize ?? defaultQueueSize;
    this.#copyBytes = copyBytes ?? maxCopyBytes;
    this.presigner = presignClient && new S3Presigner({ client: presignClient, bucket, prefix: this.#prefix });
  }

  /**
   * What lib-storage holds: the parts on their way, the last one that left, which shares memory with what is read next,
   * and the part that is being filled, once in chunks and once joined. No byte is ever held more than twice.
   */
  streamBufferBytes(size: number): number {
    return Math.min(2 * size, (this.#queueSize + 2) * this.#partBytesOf(size));
  }

  promoteBufferBytes(): number {
    return 0;
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await this.#head(key, options);
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    return getS3Object({ ...this.#request("GetObject", key), range, signal });
  }

  async putBlob(blob: BlobSource, { replaces, signal }: PutBlobOptions = {}): Promise<PutBlobResult> {
    const condition = replaces === undefined ? "absent" : { etag: replaces };
    return blob.body instanceof Uint8Array
      ? { outcome: await this.#putWhole(blob, blob.body, { condition, signal }), parts: 0 }
      : this.#putStreamed(blob, blob.body, { condition, signal });
  }

  /**
   * Each write carries an id of its own in its metadata, so that it is known for what it is where its answer was lost, or
   * was an answer to the SDK's second try. `conflict` is answered all the same if others have written since then, but not
   * of a write that is sent once.
   */
  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    { signal, once = false }: SendOptions = {},
  ): Promise<{ readonly etag: string } | "conflict"> {
    const call = this.#call("PutObject", key);
    const writeId = crypto.randomUUID();
    try {
      const command = new PutObjectCommand({
        ...this.#at(key),
        Body: bytes,
        Metadata: { [writeIdName]: writeId },
        ...conditionHeaders(condition),
      });
      const { ETag } = await (once
        ? this.#client.send(onlyOnce(command), onceOptions(signal))
        : withSignal(this.#client, signal).send(command));
      return { etag: infoOf({ key, size: bytes.length, etag: ETag }, call).etag };
    } catch (error) {
      signal?.throwIfAborted();
      const isLost = isLostRace(error) || isAbsent(error);
      if (!isLost && !isUndecided(error)) throw storeUnavailable(error, call);
      const found = !isLost || wasRetried(error) ? await this.#head(key, { signal }) : undefined;
      if (found?.metadata[writeIdName] === writeId) return { etag: found.etag };
      if (!isLost && (once || holds(condition, found))) throw storeUnavailable(error, call);
      return "conflict";
    }
  }

  async put(key: string, bytes: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    try {
      await withSignal(this.#client, signal).send(new PutObjectCommand({ ...this.#at(key), Body: bytes }));
    } catch (error) {
      signal?.throwIfAborted();
      throw storeUnavailable(error, this.#call("PutObject", key));
    }
  }

  async putStaged({ key, size, body }: StagedSource, { signal }: CallOptions = {}): Promise<StagedResult> {
    const failed = await this.#upload(body, { key, size, signal });
    if (failed !== undefined) throw storeUnavailable(failed.storeError, this.#call("Upload", key));
    return { parts: this.#partsOf(size) };
  }

  /** Looks before it copies: few servers take conditions with a copy. */
  async promote(stagedKey: string, blob: BlobIdentity, options: PutBlobOptions = {}): Promise<PutBlobResult> {
    const { replaces, signal } = options;
    const { size } = blob;
    const key = blobKey(blob.digest);
    const found = await this.head(key, { signal });
    if (found !== undefined && found.etag !== replaces) {
      if (found.size !== size) throw blobDamaged({ ...blob, url: this.url }, found.size);
      return { outcome: "present", parts: 0 };
    }
    const copy = { source: this.#at(stagedKey), target: this.#at(key), size, partBytes: this.#copyBytes, signal };
    try {
      return { outcome: "written", parts: await copyS3Object({ client: this.#client, ...copy }) };
    } catch (error) {
      signal?.throwIfAborted();
      throw storeUnavailable(error, this.#call("CopyObject", stagedKey));
    }
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    const { client, call } = this.#request("ListObjectsV2", prefix);
    yield* listS3Objects(prefix, { client, bucket: this.#bucket, storePrefix: this.#prefix, call, signal });
  }

  async delete(key: string, { signal, once = false }: SendOptions = {}): Promise<void> {
    const command = new DeleteObjectCommand(this.#at(key));
    try {
      await (once
        ? this.#client.send(onlyOnce(command), onceOptions(signal))
        : withSignal(this.#client, signal).send(command));
    } catch (error) {
      if (isAbsent(error)) return;
      signal?.throwIfAborted();
      throw storeUnavailable(error, this.#call("DeleteObject", key));
    }
  }

  /** One PUT, whose checksum is the digest itself: the store verifies the bytes, and the SDK need not hash them again. */
  async #putWhole(blob: BlobSource, body: Uint8Array, { condition, signal }: WriteOptions): Promise<BlobOutcome> {
    const key = blobKey(blob.digest);
    try {
      const command = new PutObjectCommand({
        ...this.#at(key),
        Body: body,
        ChecksumAlgorithm: "SHA256",
        ChecksumSHA256: Buffer.from(hexOf(blob.digest), "hex").toString("base64"),
        ...conditionHeaders(condition),
      });
      await withSignal(this.#client, signal).send(command);
      return "written";
    } catch (error) {
      return this.#settle(error, blob, { operation: "PutObject", condition, signal });
    }
  }

  async #putStreamed(
    blob: BlobSource,
    body: AsyncIterable<Uint8Array>,
    { condition, signal }: WriteOptions,
  ): Promise<PutBlobResult> {
    const { size } = blob;
    const key = blobKey(blob.digest);
    const failed = await this.#upload(body, { key, size, headers: conditionHeaders(condition), signal });
    if (failed !== undefined && !failed.bodyEnded) {
      throw storeUnavailable(failed.storeError, this.#call("Upload", key));
    }
    const outcome = failed
      ? await this.#settle(failed.storeError, blob, { operation: "Upload", condition, signal })
      : "written";
    return { outcome, parts: this.#partsOf(size) };
  }

  #upload(
    body: AsyncIterable<Uint8Array>,
    { key, size, headers, signal }: UploadOptions,
  ): Promise<UploadFailure | undefined> {
    return uploadStream(body, {
      client: this.#client,
      target: { ...this.#at(key), ...headers },
      size,
      partBytes: this.#partBytesOf(size),
      queueSize: this.#queueSize,
      signal,
    });
  }

  async #settle(error: unknown, blob: BlobSource, options: WriteOptions & { operation: string }): Promise<BlobOutcome> {
    const { operation, condition, signal } = options;
    const key = blobKey(blob.digest);
    const look = async (): Promise<ObjectInfo | undefined> => this.head(key, { signal });
    return settleBlobWrite(error, { blob, condition, call: this.#call(operation, key), look, signal });
  }

  #head(key: string, { signal }: CallOptions): Promise<S3ObjectInfo | undefined> {
    return headS3Object({ ...this.#request("HeadObject", key), signal });
  }

  /** 0 where an upload of this size goes as one object. */
  #partsOf(size: number): number {
    const partBytes = this.#partBytesOf(size);
    return size > partBytes ? Math.ceil(size / partBytes) : 0;
  }

  #partBytesOf(size: number): number {
    return Math.max(this.partBytes, Math.ceil(size / maxParts));
  }

  #request(operation: string, key: string): Pick<ReadOptions, "client" | "at" | "call"> {
    return { client: this.#client, at: this.#at(key), call: this.#call(operation, key) };
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }

  #call(operation: string, key: string): S3Call {
    return { url: this.url, operation, key };
  }
}

type BlobOutcome = PutBlobResult["outcome"];

interface WriteOptions extends CallOptions {
  readonly condition: PutCondition;
}

interface UploadOptions extends CallOptions {
  readonly key: string;
  readonly size: number;
  readonly headers?: Readonly<Record<string, string>>;
}
