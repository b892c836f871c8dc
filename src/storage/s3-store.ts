/**
 * A bucket, or a prefix of one, as a store. Conditional writes are S3's own; a blob that is larger than a part goes up by
 * lib-storage's `Upload`, straight to its final key.
 */
import { Buffer } from "node:buffer";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type S3Client,
  paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { StowageError } from "../errors.ts";
import { hexOf } from "../oci/digest.ts";
import { blobKey } from "./keys.ts";
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
import { discardS3Body, readS3Body } from "./s3-body.ts";
import {
  type S3Call,
  isAbsent,
  isLostRace,
  isUndecided,
  isUploadGone,
  storeUnavailable,
  wasRetried,
} from "./s3-errors.ts";
import { holds, infoOf, conditionHeaders, sizeOfRanged } from "./s3-headers.ts";
import { S3Presigner } from "./s3-presigner.ts";
import { withSignal } from "./s3-signal.ts";
import { uploadStream } from "./s3-upload.ts";

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

  constructor({ client, bucket, prefix = "", partBytes, queueSize, presignClient }: S3StoreOptions) {
    const path = prefix.replace(/^\/+|\/+$/g, "");
    this.url = path === "" ? `s3://${bucket}` : `s3://${bucket}/${path}`;
    this.partBytes = partBytes ?? defaultPartBytes;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = path === "" ? "" : `${path}/`;
    this.#queueSize = queueSize ?? defaultQueueSize;
    this.presigner = presignClient && new S3Presigner({ client: presignClient, bucket, prefix: this.#prefix });
  }

  /**
   * What lib-storage holds: the parts on their way, the last one that left, which shares memory with what is read next,
   * and the part that is being filled, once in chunks and once joined. No byte is ever held more than twice.
   */
  streamBufferBytes(size: number): number {
    return Math.min(2 * size, (this.#queueSize + 2) * this.#partBytesOf(size));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await this.#head(key, options);
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    const call = this.#call("GetObject", key);
    try {
      const { Body, ContentLength, ContentRange, ETag } = await withSignal(this.#client, signal).send(
        new GetObjectCommand({ ...this.#at(key), ...(range && { Range: `bytes=${range.start}-${range.end}` }) }),
      );
      try {
        const sent = infoOf({ key, size: ContentLength, etag: ETag }, call);
        const whole = range === undefined ? sent : infoOf({ ...sent, size: sizeOfRanged(ContentRange) }, call);
        return { ...whole, body: readS3Body(Body, { call, size: sent.size, signal }) };
      } catch (error) {
        await discardS3Body(Body);
        throw error;
      }
    } catch (error) {
      if (isAbsent(error)) return undefined;
      signal?.throwIfAborted();
      throw storeUnavailable(error, call);
    }
  }

  async putBlob(blob: BlobSource, { replaces, signal }: PutBlobOptions = {}): Promise<PutBlobResult> {
    const condition = replaces === undefined ? "absent" : { etag: replaces };
    return blob.body instanceof Uint8Array
      ? { outcome: await this.#putWhole(blob, blob.body, { condition, signal }), parts: 0 }
      : this.#putStreamed(blob, blob.body, { condition, signal });
  }

  /**
   * Each write carries an id of its own in its metadata, so that it is known for what it is where its answer was lost, or
   * was an answer to the SDK's second try. `conflict` is answered all the same if others have written since then.
   */
  async putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    { signal }: CallOptions = {},
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
      const { ETag } = await withSignal(this.#client, signal).send(command);
      return { etag: infoOf({ key, size: bytes.length, etag: ETag }, call).etag };
    } catch (error) {
      signal?.throwIfAborted();
      const isLost = isLostRace(error) || isAbsent(error);
      if (!isLost && !isUndecided(error)) throw storeUnavailable(error, call);
      const found = !isLost || wasRetried(error) ? await this.#head(key, { signal }) : undefined;
      if (found?.writeId === writeId) return { etag: found.etag };
      if (!isLost && holds(condition, found)) throw storeUnavailable(error, call);
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

  /** Asks for pages of 1,000 as they are needed. */
  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    const call = this.#call("ListObjectsV2", prefix);
    const input = { Bucket: this.#bucket, Prefix: this.#prefix + prefix };
    const pages = paginateListObjectsV2({ client: withSignal(this.#client, signal) }, input);
    try {
      for await (const { Contents = [] } of pages) {
        for (const { Key = "", Size, ETag } of Contents) {
          yield infoOf({ key: Key.slice(this.#prefix.length), size: Size, etag: ETag }, call);
        }
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw storeUnavailable(error, call);
    }
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    try {
      await withSignal(this.#client, signal).send(new DeleteObjectCommand(this.#at(key)));
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
    const partBytes = this.#partBytesOf(size);
    const failed = await uploadStream(body, {
      client: this.#client,
      target: { ...this.#at(blobKey(blob.digest)), ...conditionHeaders(condition) },
      size,
      partBytes,
      queueSize: this.#queueSize,
      signal,
    });
    if (failed !== undefined && !failed.bodyEnded) {
      throw storeUnavailable(failed.storeError, this.#call("Upload", blobKey(blob.digest)));
    }
    const outcome = failed
      ? await this.#settle(failed.storeError, blob, { operation: "Upload", condition, signal })
      : "written";
    return { outcome, parts: size > partBytes ? Math.ceil(size / partBytes) : 0 };
  }

  /** Decides what a failed write of a blob means, by what is there: the same blob, a damaged one, or none. */
  async #settle(
    error: unknown,
    blob: BlobSource,
    { operation, condition, signal }: SettleOptions,
  ): Promise<BlobOutcome> {
    signal?.throwIfAborted();
    const { digest, size } = blob;
    const key = blobKey(digest);
    const mayBeThere = isLostRace(error) || isUploadGone(error) || isAbsent(error) || isUndecided(error);
    const found = mayBeThere ? await this.head(key, { signal }) : undefined;
    if (found?.size === size) return wasRetried(error) ? "written" : "present";
    if (found === undefined || (isUndecided(error) && holds(condition, found))) {
      throw storeUnavailable(error, this.#call(operation, key));
    }
    throw new StowageError(
      "STORE_DAMAGED",
      `Cannot store blob "${digest}" in ${this.url}: an object of ${found.size} bytes lies there, expected ${size}`,
      { cause: error, detail: { digest, found: found.size, expected: size } },
    );
  }

  async #head(
    key: string,
    { signal }: CallOptions,
  ): Promise<(ObjectInfo & { writeId?: string | undefined }) | undefined> {
    const call = this.#call("HeadObject", key);
    try {
      const command = new HeadObjectCommand(this.#at(key));
      const { ContentLength, ETag, Metadata } = await withSignal(this.#client, signal).send(command);
      return { ...infoOf({ key, size: ContentLength, etag: ETag }, call), writeId: Metadata?.[writeIdName] };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      signal?.throwIfAborted();
      throw storeUnavailable(error, call);
    }
  }

  #partBytesOf(size: number): number {
    return Math.max(this.partBytes, Math.ceil(size / maxParts));
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

interface SettleOptions extends WriteOptions {
  /** What failed, for the message. */
  readonly operation: string;
}
