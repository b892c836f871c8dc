/**
 * The part of an R2 binding that Stowage uses, with types of its own. So Stowage needs no types of Cloudflare, and a
 * test can use any object with these methods.
 */

export interface R2Object {
  readonly key: string;
  /** Length of the whole object in bytes, also for a range. */
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
  readonly customMetadata?: Readonly<Record<string, string>> | undefined;
}

interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array>;
}

interface R2PutOptions {
  /** The condition. If it does not hold, the answer is `null`. */
  readonly onlyIf?: { readonly etagMatches: string } | Headers;
  /** The expected hash of the bytes, in hex. */
  readonly sha256?: string;
  readonly sha512?: string;
  readonly customMetadata?: Record<string, string>;
}

export interface R2UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

interface R2MultipartUpload {
  /** All parts except the last must have the same length. */
  uploadPart(partNumber: number, value: Uint8Array): Promise<R2UploadedPart>;
  abort(): Promise<void>;
  complete(parts: R2UploadedPart[]): Promise<R2Object>;
}

interface R2ListedObject extends R2Object {
  readonly uploaded: Date;
}

interface R2ObjectList {
  readonly objects: readonly R2ListedObject[];
  readonly truncated: boolean;
  /** The start of the next page, if there is one. */
  readonly cursor?: string | undefined;
}

/** A bucket that is bound to a Worker. Cloudflare's own `R2Bucket` fits. */
export interface R2Bucket {
  head(key: string): Promise<R2Object | null>;
  get(
    key: string,
    options?: { readonly range?: { readonly offset: number; readonly length: number } },
  ): Promise<R2ObjectBody | null>;
  put(key: string, value: Uint8Array, options?: R2PutOptions): Promise<R2Object | null>;
  createMultipartUpload(key: string, options?: Pick<R2PutOptions, "customMetadata">): Promise<R2MultipartUpload>;
  list(options: { readonly prefix: string; readonly cursor?: string }): Promise<R2ObjectList>;
  delete(key: string): Promise<void>;
}

const methods = ["head", "get", "put", "createMultipartUpload", "list", "delete"] as const;

/** Is the binding a bucket of R2? */
export function isR2Bucket(binding: unknown): binding is R2Bucket {
  if (typeof binding !== "object" || binding === null) return false;
  return methods.every((name) => typeof Reflect.get(binding, name) === "function");
}
