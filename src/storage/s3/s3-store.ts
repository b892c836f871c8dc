/** A bucket of S3, or a prefix of one, as a store. S3 itself checks the conditions of writes. */
import { Buffer } from "node:buffer";
import { DeleteObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { StowageError } from "../../errors.ts";
import type {
  ByteSource,
  CallOptions,
  CopyFromOptions,
  CopyOptions,
  GetOptions,
  ListedObject,
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
import { PartMemory } from "../part-memory.ts";
import { holds } from "../settle-write.ts";
import { type S3Copy, copyS3Object, maxCopyBytes } from "./s3-copy.ts";
import { S3CopiesFrom, S3CopySource } from "./s3-copy-from.ts";
import { isAbsent, isUndecided, storeUnavailable, throwFailure } from "./s3-errors.ts";
import { S3Presigner } from "./s3-presigner.ts";
import { getS3Object, headS3Object, listS3Objects } from "./s3-read.ts";
import { type ClientViews, type S3Location, type S3Request, clientOf, sha256In } from "./s3-request.ts";
import { putS3Object, writeS3Object } from "./s3-write.ts";

/** S3's smallest part size. With memory for twelve of them, larger parts are no faster. */
const defaultPartBytes = 5 * 1024 * 1024;
/**
 * Parts of one stream that are in memory at once, if there is no more memory: one is filled while the other is sent.
 */
const leastParts = 2;

/** The bucket and its clients. */
export interface S3StoreOptions {
  /** Make it with `createS3Client`, which tunes it. */
  readonly client: S3Client;
  readonly bucket: string;
  /** The prefix of all objects in the bucket, such as `images/prod`. By default the store uses the whole bucket. */
  readonly prefix?: string | undefined;
  /** Bytes of a part. S3 requires at least 5 MiB. */
  readonly partBytes?: number;
  /** Parts of one stream that are in memory at once. At least two. By default as many as there is memory for. */
  readonly maxParts?: number | undefined;
  /** Bytes of an object that S3 copies in one request. A larger object is copied in parts of this size. */
  readonly copyBytes?: number;
  /** Signs URLs for the address that clients use. Without it there are no presigned URLs. */
  readonly presignClient?: S3Client | undefined;
  /**
   * Is named in the store's `url`, so that messages tell apart two buckets of one name. By default no host is named.
   */
  readonly endpointHost?: string | undefined;
}

/** A bucket of S3, or a prefix of one, as a store. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly partBytes: number;
  readonly presigner: S3Presigner | undefined;
  readonly copySource: S3CopySource;
  readonly #client: S3Client;
  readonly #views: ClientViews = new WeakMap();
  readonly #bucket: string;
  /** Empty, or ends with `/`. */
  readonly #prefix: string;
  readonly #maxParts: number;
  readonly #copyBytes: number;
  readonly #copiesFrom: S3CopiesFrom;

  constructor(options: S3StoreOptions) {
    const { client, bucket, prefix = "", partBytes, maxParts, copyBytes, presignClient, endpointHost } = options;
    const path = prefix.replace(/^\/+|\/+$/g, "");
    const endpoint = endpointHost === undefined ? "" : `?endpoint=${endpointHost}`;
    this.url = `s3://${bucket}${path === "" ? "" : `/${path}`}${endpoint}`;
    this.partBytes = partBytes ?? defaultPartBytes;
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = path === "" ? "" : `${path}/`;
    this.#maxParts = maxParts ?? Infinity;
    this.#copyBytes = copyBytes ?? maxCopyBytes;
    this.presigner = presignClient && new S3Presigner(presignClient, bucket, this.#prefix);
    this.copySource = new S3CopySource(client, bucket, this.#prefix);
    this.#copiesFrom = new S3CopiesFrom(this.copySource);
  }

  writeBufferBytes(size: number | undefined): number {
    return Math.min(size ?? Infinity, leastParts * partBytesOf(size, this.partBytes));
  }

  copyBufferBytes(): number {
    return 0;
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectInfo | undefined> {
    const found = await headS3Object(this.#request("HeadObject", key, { signal }));
    return found && { key, size: found.size, etag: found.etag };
  }

  async get(key: string, { range, chunkBytes, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    return getS3Object(this.#request("GetObject", key, { signal }), { range, chunkBytes });
  }

  async put(key: string, bytes: Uint8Array, { condition, digest, once, signal }: PutOptions = {}): Promise<PutResult> {
    return putS3Object(bytes, { ...this.#request("PutObject", key, { once, signal }), condition, digest });
  }

  async write(
    key: string,
    source: ByteSource,
    { condition, signal, takeMore }: WriteOptions = {},
  ): Promise<WriteResult> {
    const partBytes = partBytesOf(source.size, this.partBytes);
    const memory = new PartMemory({ partBytes, leastParts, maxParts: this.#maxParts, takeMore });
    return writeS3Object(source, { ...this.#request("Upload", key, { signal }), condition, partBytes, memory });
  }

  /** Checks the condition before it copies: few servers support a condition of a copy. */
  async copy(from: string, to: string, { size, condition, signal }: CopyOptions): Promise<WriteResult> {
    if (condition !== undefined && !holds(condition, await this.head(to, { signal }))) {
      return { outcome: "conflict", parts: 0 };
    }
    const { at: source, ...request } = this.#request("CopyObject", from, { signal });
    try {
      const copy = { ...request, source, at: this.#at(to), size, partBytes: this.#copyBytes };
      return { outcome: "written", parts: (await copyS3Object(copy)).parts };
    } catch (error) {
      return throwFailure(error, request);
    }
  }

  /**
   * Looks at the source with the source's own credentials first, unless the caller has done so. S3 copies the object
   * only if this store's credentials see the ETag that the source's credentials saw. The source must never change: a
   * copy may go on where a killed one stopped.
   */
  async copyFrom(
    source: ObjectStore,
    from: string,
    to: string,
    options: CopyFromOptions,
  ): Promise<WriteResult | "refused"> {
    const { size, digest, condition, sourceEtag, isSeenAbsent = false, signal } = options;
    const place = source.copySource;
    if (place === undefined) return "refused";
    const request = this.#request("CopyObject", to, { signal });
    try {
      if (!(await this.#copiesFrom.arePossible(place))) return "refused";
      const [found, existing] = await Promise.all([
        sourceEtag === undefined ? source.head(from, { signal }) : { size, etag: sourceEtag },
        condition === undefined || isSeenAbsent ? undefined : this.head(to, { signal }),
      ]);
      if (found === undefined) throw new Error(`"${from}" is not in ${source.url}`);
      if (found.size !== size) throw damagedObject(source, from, found.size, size);
      if (condition !== undefined && !holds(condition, existing)) return { outcome: "conflict", parts: 0 };
      const copied = await this.#copiesFrom.copy(place, {
        ...request,
        source: { Bucket: place.bucket, Key: place.prefix + from },
        sourceEtag: found.etag,
        size,
        partBytes: this.#copyBytes,
        asksSha256: sha256In(digest) !== undefined,
        resumes: true,
        isNew: condition === "absent",
      });
      if (copied === "refused" && condition === "absent" && (await this.head(to, { signal })) !== undefined) {
        return { outcome: "conflict", parts: 0 }; // another writer was faster
      }
      if (copied === "refused") return copied;
      if (copied === "gone" && condition !== "absent") throw new Error("its upload is gone");
      const { parts, isResumed, ...answer }: S3Copy = copied === "gone" ? { parts: 0 } : copied;
      await this.#checkCopy(to, options, answer);
      return { outcome: "written", parts, ...(isResumed === true && { isResumed }) };
    } catch (error) {
      return throwFailure(error, request);
    }
  }

  /**
   * Deletes a copy that is not what was expected, and throws. An object that has replaced the copy meanwhile stays. If
   * the hash in the answer is right, the size is too.
   */
  async #checkCopy(
    key: string,
    { size, digest, signal }: CopyOptions,
    answer: Pick<S3Copy, "sha256" | "etag">,
  ): Promise<void> {
    const hash = answer.sha256 && Buffer.from(answer.sha256, "base64").toString("hex");
    const expected = sha256In(digest);
    if (hash !== undefined && hash === expected) return;
    const copy = await this.head(key, { signal });
    if (copy === undefined) throw new Error("the copy is not there");
    const isHashWrong = hash !== undefined && expected !== undefined;
    if (copy.size === size && !isHashWrong) return;
    const failure =
      copy.size === size ? damagedObject(this, key, hash, expected) : damagedObject(this, key, copy.size, size);
    const isReplaced = isHashWrong && answer.etag !== undefined && answer.etag !== copy.etag;
    // Without the signal: a copy that is wrong must go even if the caller has stopped. Once, because a late second try
    // could delete a good object.
    if (!isReplaced) await this.delete(key, { once: true }).catch(() => undefined);
    throw failure;
  }

  list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<ListedObject> {
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

function damagedObject(
  { url }: ObjectStore,
  key: string,
  found: number | string | undefined,
  expected: number | string | undefined,
): StowageError {
  const unit = typeof expected === "number" ? "bytes" : "as its SHA-256";
  const message = `Cannot use "${key}" in ${url}: found ${found} ${unit}, expected ${expected}`;
  return new StowageError("STORE_DAMAGED", message, { detail: { key, found, expected } });
}
