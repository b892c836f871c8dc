/** Copies between buckets. The service makes the copy itself, if it has both buckets and the credentials allow it. */
import { HeadBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import type { CopySource } from "../object-store.ts";
import { type CopyRequest, type S3Copy, copyS3Object } from "./s3-copy.ts";
import { isAbsent, isLostRace, isNotUnderstood, isRefusal, isUploadGone } from "./s3-errors.ts";

/** The place of a bucket's objects. */
export class S3CopySource implements CopySource {
  readonly bucket: string;
  readonly prefix: string;
  readonly #client: S3Client;
  #service: Promise<string> | undefined;

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client;
    this.bucket = bucket;
    this.prefix = prefix;
  }

  async service(): Promise<string> {
    this.#service ??= serviceOf(this.#client, this.bucket);
    try {
      return await this.#service;
    } catch (error) {
      this.#service = undefined;
      throw error;
    }
  }
}

/** Takes the service from a signed URL: the SDK may find its endpoint in a file, when the first request is made. */
async function serviceOf(client: S3Client, bucket: string): Promise<string> {
  const { host, hostname, pathname } = new URL(await getSignedUrl(client, new HeadBucketCommand({ Bucket: bucket })));
  if (/\.amazonaws\.com(?:\.cn)?$/.test(hostname)) return "aws";
  const isInPath = pathname.endsWith(`/${bucket}`);
  if (isInPath) return host + pathname.slice(0, -bucket.length - 1);
  return host.startsWith(`${bucket}.`) ? host.slice(bucket.length + 1) : host;
}

/** The copies into one bucket. Remembers the sources that were refused: a thousand blobs ask once. */
export class S3CopiesFrom {
  readonly #target: CopySource;
  readonly #refused = new WeakSet<CopySource>();
  /** False for a store that does not know the request for a hash. */
  #asksSha256 = true;

  constructor(target: CopySource) {
    this.#target = target;
  }

  /** Does one service have both buckets, and has it refused no copy between them? */
  async arePossible(source: CopySource): Promise<boolean> {
    if (this.#refused.has(source)) return false;
    const isSame = (await source.service()) === (await this.#target.service());
    if (!isSame) this.#refused.add(source);
    return isSame;
  }

  /**
   * `refused`: nothing was written. `gone`: another copy has completed or ended the same upload, or the answer to its
   * completion was lost. Throws errors of the SDK.
   */
  async copy(source: CopySource, request: CopyRequest): Promise<S3Copy | "refused" | "gone"> {
    try {
      return await this.#copy(request);
    } catch (error) {
      request.signal?.throwIfAborted();
      if (isUploadGone(error)) return "gone";
      // The service does not see the object that the source's own credentials see, or the object has just changed.
      if (isAbsent(error) || isLostRace(error)) return "refused";
      if (!isRefusal(error)) throw error;
      this.#refused.add(source);
      return "refused";
    }
  }

  async #copy(request: CopyRequest): Promise<S3Copy> {
    const isWhole = request.size <= request.partBytes;
    const asksSha256 = this.#asksSha256 && request.asksSha256 && isWhole;
    try {
      return await copyS3Object({ ...request, asksSha256 });
    } catch (error) {
      if (!asksSha256 || !isNotUnderstood(error)) throw error;
      const copied = await copyS3Object({ ...request, asksSha256: false });
      this.#asksSha256 = false;
      return copied;
    }
  }
}
