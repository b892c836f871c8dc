/**
 * The interface of a store: keys and bytes. A bucket, a directory and a map in memory look the same to all other code.
 * A missing object, a lost race and a missing answer are values. A store that fails throws `STORE_UNAVAILABLE`.
 *
 * Keys are relative paths of segments joined by `/`, such as `blobs/sha256/<hex>`. No segment is empty or starts
 * with a dot. `test/storage/contract.ts` checks every store against this file.
 */
import type { Digest } from "../digest.ts";
import type { StowageError } from "../errors.ts";

/** The facts about an object that a store knows without reading it. */
export interface ObjectInfo {
  readonly key: string;
  /** Length in bytes. */
  readonly size: number;
  /** Identifies this state of the object. It has no quotes. Each store has its own format. */
  readonly etag: string;
}

/** An object as a listing shows it. */
export interface ListedObject extends ObjectInfo {
  /** When the object was written, in milliseconds since 1970, by the clock of the store. */
  readonly modifiedMs: number;
}

/** A range of bytes. Both ends are included, as in HTTP's `Range: bytes=start-end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** See `ObjectStore.maxOpenBodies`. */
export const defaultMaxOpenBodies = 128;

/** An object that is being read. */
export interface StoredObject extends ObjectInfo {
  /** The bytes of the object, or of the range. The caller reads them to the end or leaves the `for await` early. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** The options of every call. */
export interface CallOptions {
  /**
   * Ends the call. The call rejects with the signal's reason and leaves nothing behind. A write whose last request has
   * been sent may still be done, whole.
   */
  readonly signal?: AbortSignal | undefined;
}

/** How an object is read: whole, or a range of it. */
export interface GetOptions extends CallOptions {
  readonly range?: ByteRange | undefined;
  /**
   * The largest chunk that the reader has memory for. Called many times while the body is read. A store may ignore it.
   */
  readonly chunkBytes?: (() => number) | undefined;
}

/** The largest chunk of a reader that does not say how large its chunks may be. */
export const usualChunkBytes = 64 * 1024;

/** The state that a conditional write expects: an object with this ETag, or no object. */
export type PutCondition = { readonly etag: string } | "absent";

/** The options of a request that must not take effect late. */
export interface SendOptions extends CallOptions {
  /**
   * Sends the request only once, also if no answer comes. A second try could take effect long after the first try, when
   * other writers have already acted on the first. An answered request cannot take effect later.
   */
  readonly once?: boolean | undefined;
}

/** How bytes in memory are written. */
export interface PutOptions extends SendOptions {
  /** The store checks the condition and writes in one step. Without a condition the object is always written. */
  readonly condition?: PutCondition | undefined;
  /** The digest of the bytes. If the store can, it checks the bytes against it. */
  readonly digest?: Digest | undefined;
}

/** No answer came to a request. The request may have taken effect, or may do so later. `unanswered` is the error. */
export interface Unanswered {
  readonly unanswered: StowageError;
}

/** The result of a `put`. `conflict`: the condition does not hold. */
export type PutResult = { readonly etag: string } | "conflict" | Unanswered;

/** Bytes on their way into the store. */
export interface ByteSource {
  /** Length in bytes. Undefined if it is not known: then the caller has limited the body. */
  readonly size: number | undefined;
  /** The store may keep a chunk or free its memory. The source must not use the memory of a chunk again. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Takes memory for `bytes` more bytes, if that much is free now. Returns the function that gives the memory back, or
 * undefined.
 */
export type TakeMore = (bytes: number) => (() => void) | undefined;

/** How a stream is written. */
export interface WriteOptions extends CallOptions {
  /** Gives memory beyond `writeBufferBytes`. A store that answers late uses it to send more parts at once. */
  readonly takeMore?: TakeMore | undefined;
  /**
   * The condition is checked when all bytes have come. Some stores check it just before the last step, and not together
   * with that step. So a conditional `write` is not safe against races.
   */
  readonly condition?: PutCondition | undefined;
}

/** The facts about an object that is copied. */
export interface CopyOptions extends WriteOptions {
  /** Length in bytes. */
  readonly size: number;
  /**
   * The digest of the bytes. A store that reads the object to copy it compares this digest with the bytes, and throws
   * `STORE_DAMAGED` if they differ.
   */
  readonly digest?: Digest | undefined;
}

/** What the caller of `copyFrom` has seen a moment ago. It saves the store a request for each. */
export interface CopyFromOptions extends CopyOptions {
  /** The ETag of the object that is copied. Only an object with this ETag is copied. */
  readonly sourceEtag?: string | undefined;
  /** Is there no object under the new key? If one is written meanwhile, the copy may replace it. */
  readonly isSeenAbsent?: boolean | undefined;
}

/** The result of a stream or a copy. */
export interface WriteResult {
  /** `conflict`: the condition does not hold. */
  readonly outcome: "written" | "conflict";
  /** The number of parts of the upload. 0 if the bytes went in one request. */
  readonly parts: number;
  /** True if some parts are those of an earlier copy that was killed. These parts may come from another source. */
  readonly isResumed?: boolean | undefined;
}

/** Makes URLs of the store. The holder of a URL can read or write one object for a while, without the service. */
export interface Presigner {
  /** A URL for GET of an object. It is valid for `seconds`. */
  presignGet(key: string, options: { readonly seconds: number }): Promise<string>;
  /** A URL for PUT of exactly `size` bytes. It can be used more than once. */
  presignPut(key: string, options: { readonly seconds: number; readonly size: number }): Promise<string>;
}

/** The place of a store's objects, for `copyFrom` of another store. */
export interface CopySource {
  /** Names the service that has the bucket, such as `s3.example.com:9000`. `aws` for all of AWS. */
  service(): Promise<string>;
  readonly bucket: string;
  /** The prefix of all objects in the bucket. Empty, or ends with `/`. */
  readonly prefix: string;
}

/** The reading half of a store. */
export interface StoreReader {
  /** Returns the facts about an object. Undefined if there is none. */
  head(key: string, options?: CallOptions): Promise<ObjectInfo | undefined>;

  /** Reads an object. Undefined if there is none. `size` is that of the whole object, also for a range. */
  get(key: string, options?: GetOptions): Promise<StoredObject | undefined>;
}

/**
 * A store. The safety of all data depends on the conditions of `put`. So a store that ignores conditions is refused
 * before anything is written into it.
 */
export interface ObjectStore extends StoreReader {
  /** Names the store in messages: its URL, without secrets. */
  readonly url: string;
  /** Up to this many bytes are collected in memory and written by `put`. More bytes are streamed by `write`. */
  readonly partBytes: number;
  /**
   * Bodies that a service may read at the same time for clients. 128 by default. The store must allow twice as many
   * connections: the other half is for all other requests.
   */
  readonly maxOpenBodies?: number | undefined;
  /** Undefined if clients cannot reach the store. */
  readonly presigner?: Presigner | undefined;
  /** Undefined if no other store can copy from this one without this process. */
  readonly copySource?: CopySource | undefined;
  /**
   * The largest number of bytes that `write` holds while it streams an object of `size` bytes. Without `size`, the
   * object can have any length. The bytes of `takeMore` come on top.
   */
  writeBufferBytes(size: number | undefined): number;
  /** The largest number of bytes that `copy` holds for an object of `size` bytes. 0 if the store itself copies. */
  copyBufferBytes(size: number): number;

  /**
   * Writes bytes that are in memory. With a condition, this is compare and swap, and a missing answer is the value
   * `unanswered`. Without a condition, a missing answer is an error.
   *
   * A `put` without `once` can return `conflict` although its own write was done: the first try wrote the object,
   * another writer replaced it, and the second try finds that state.
   */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<PutResult>;

  /**
   * Streams bytes of any length. The object becomes visible when all bytes are stored. The body is read to its end,
   * also if the condition does not hold. If the body throws, or has another length (`SIZE_INVALID`), `write` rejects
   * with that error and leaves nothing behind: no object, no upload, no file.
   */
  write(key: string, source: ByteSource, options?: WriteOptions): Promise<WriteResult>;

  /**
   * Copies an object, whole or not at all. If the store cannot copy by itself, the bytes pass through this process. A
   * store may move the source. The caller deletes the source afterwards in any case. Throws `STORE_UNAVAILABLE` if
   * there is no source.
   */
  copy(from: string, to: string, options: CopyOptions): Promise<WriteResult>;

  /**
   * Copies an object of another store into this one, if the stores can do so without this process. `refused`: they
   * cannot, and nothing was written; the caller streams the bytes. Undefined on stores that never can.
   */
  copyFrom?(source: ObjectStore, from: string, to: string, options: CopyFromOptions): Promise<WriteResult | "refused">;

  /**
   * Lists the objects whose keys start with `prefix`. The order is the store's own: SeaweedFS lists `a/b` before `a-b`.
   */
  list(prefix: string, options?: CallOptions): AsyncIterable<ListedObject>;

  /**
   * Deletes an object. A missing object is no error. A missing answer is the value `unanswered` with `once`, and
   * otherwise an error.
   */
  delete(key: string, options?: SendOptions): Promise<Unanswered | undefined>;
}

/** Returns the result of a `put`. Throws the store's error if no answer came. */
export function answered(result: PutResult): Exclude<PutResult, Unanswered> {
  if (result !== "conflict" && "unanswered" in result) throw result.unanswered;
  return result;
}

/** Turns the result of a `put` into that of a `write` or a `copy`. Throws the store's error if no answer came. */
export function writeResultOf(result: PutResult, parts = 0): WriteResult {
  return { outcome: answered(result) === "conflict" ? "conflict" : "written", parts };
}
