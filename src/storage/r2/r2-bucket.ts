/**
 * What Stowage uses of a binding to a bucket of R2, in its own words: so it needs no types of Cloudflare's, and a test can
 * hand in any object that behaves like one.
 */

export interface R2Object {
  readonly key: string;
  /** Length in bytes, of the whole object also where a range of it is read. */
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
  readonly customMetadata?: Readonly<Record<string, string>> | undefined;
}

export interface R2ObjectBody extends R2Object {
  readonly body: ReadableStream<Uint8Array>;
}

export interface R2PutOptions {
  /** Written only if this holds; otherwise the answer is `null`. */
  readonly onlyIf?: { readonly etagMatches: string } | Headers;
  /** What the bytes must have, in hex. */
  readonly sha256?: string;
  readonly customMetadata?: Record<string, string>;
}

export interface R2UploadedPart {
  readonly partNumber: number;
  readonly etag: string;
}

export interface R2MultipartUpload {
  /** All parts but the last have to be equally long. */
  uploadPart(partNumber: number, value: Uint8Array): Promise<R2UploadedPart>;
  abort(): Promise<void>;
  complete(parts: R2UploadedPart[]): Promise<R2Object>;
}

export interface R2ObjectList {
  readonly objects: readonly R2Object[];
  readonly truncated: boolean;
  /** Where the next page begins, if there is one. */
  readonly cursor?: string | undefined;
}

/** A bucket as a Worker has it: what Cloudflare calls `R2Bucket` is one. */
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

/** Tells a bucket from the other things that a Worker can be bound to. */
export function isR2Bucket(binding: unknown): binding is R2Bucket {
  if (typeof binding !== "object" || binding === null) return false;
  return methods.every((name) => typeof Reflect.get(binding, name) === "function");
}
