/** A bucket of S3, or a prefix of one, as a store. S3 itself checks the conditions of writes. */
import { DeleteObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import type {
  ByteSource,
  CallOptions,
  CopyOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  PutResult,
  SendOptions,
  StoredObject,
  Unanswered,
  WriteOptions,
  WriteResult,
} from "../object-store.ts";
import { partBytesOf } from "../multipart-upload.ts";
import { holds } from "../settle-write.ts";
import { copyS3Object, maxCopyBytes } from "./s3-copy.ts";
import { isAbsent, isUndecided, storeUnavailable, throwFailure } from "./s3-errors.ts";
import { S3Presigner } from "./s3-presigner.ts";
import { getS3Object, headS3Object, listS3Objects } from "./s3-read.ts";
import { type ClientViews, type S3Location, type S3Request, clientOf } from "./s3-request.ts";
import { putS3Object, writeS3Object } from "./s3-write.ts";

/** S3's smallest part size. Measured: larger parts are no faster, and a stream holds six parts. */
const defaultPartBytes = 5 * 1024 * 1024;
/** Parts of one stream that are sent at the same time. */
const defaultQueueSize = 4;

/** The bucket and its clients. */
export interface S3StoreOptions {
  /** Make it with `createS3Client`, which tunes it. */
  readonly client: S3Client;
  readonly bucket: string;
  /** The prefix of all objects in the bucket, such as `images/prod`. By default the store uses the whole bucket. */
  readonly prefix?: string | undefined;
  /** Bytes of a part. S3 requires at least 5 MiB. */
  readonly partBytes?: number;
  readonly queueSize?: number | undefined;
  /** Bytes of an object that S3 copies in one request. A larger object is copied in parts of this size. */
  readonly copyBytes?: number;
  /** Signs URLs for the address that clients use. Without it there are no presigned URLs. */
  readonly presignClient?: S3Client | undefined;
}

/** A bucket of S3, or a prefix of one, as a store. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly partBytes: number;
  readonly presigner: S3Presigner | undefined;
  readonly #client: S3Client;
  readonly #views: ClientViews = new WeakMap();
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
    this.presigner = presignClient && new S3Presigner(presignClient, bucket, this.#prefix);
  }

  /**
   * lib-storage holds the parts that are being sent, the memory of the last sent part (shared with the next bytes), and
   * the part that is being filled, once in chunks and once joined. No byte is held more than twice.
   */
  writeBufferBytes(size: number): number {
    return Math.min(2 * size, (this.#queueSize + 2) * partBytesOf(size, this.partBytes));
  }

  copyBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await headS3Object(this.#request("HeadObject", key, { signal }));
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    return getS3Object(this.#request("GetObject", key, { signal }), range);
  }

  async put(
    key: string,
    bytes: Uint8Array,
    { condition, checksum, once, signal }: PutOptions = {},
  ): Promise<PutResult> {
    return putS3Object(bytes, { ...this.#request("PutObject", key, { once, signal }), condition, checksum });
  }

  async write(key: string, source: ByteSource, { condition, signal }: WriteOptions = {}): Promise<WriteResult> {
    const request = this.#request("Upload", key, { signal });
    const [partBytes, queueSize] = [partBytesOf(source.size, this.partBytes), this.#queueSize];
    return writeS3Object(source, { ...request, condition, partBytes, queueSize });
  }

  /** Checks the condition before it copies: few servers support a condition of a copy. */
  async copy(from: string, to: string, { size, condition, signal }: CopyOptions): Promise<WriteResult> {
    if (condition !== undefined && !holds(condition, await this.head(to, { signal }))) {
      return { outcome: "conflict", parts: 0 };
    }
    const { at: source, ...request } = this.#request("CopyObject", from, { signal });
    try {
      const copy = { ...request, source, at: this.#at(to), size, partBytes: this.#copyBytes };
      return { outcome: "written", parts: await copyS3Object(copy) };
    } catch (error) {
      return throwFailure(error, request);
    }
  }

  list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ObjectInfo> {
    return listS3Objects(this.#request("ListObjectsV2", prefix, { signal }), this.#prefix);
  }

  async delete(key: string, { signal, once = false }: SendOptions = {}): Promise<Unanswered | undefined> {
    const request = this.#request("DeleteObject", key, { once, signal });
    try {
      await clientOf(request).send(new DeleteObjectCommand(request.at));
    } catch (error) {
      if (isAbsent(error)) return undefined;
      signal?.throwIfAborted();
      const failure = storeUnavailable(error, request.call);
      if (!once || !isUndecided(error)) throw failure;
      return { unanswered: failure };
    }
    return undefined;
  }

  #request(operation: string, key: string, options: SendOptions = {}): S3Request {
    const call = { url: this.url, operation, key };
    return { ...options, client: this.#client, views: this.#views, at: this.#at(key), call };
  }

  #at(key: string): S3Location {
    return { Bucket: this.#bucket, Key: this.#prefix + key };
  }
}
