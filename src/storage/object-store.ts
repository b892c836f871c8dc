/**
 * What Stowage asks of a store: keys and bytes. A bucket, a directory and a map in memory are alike to everything above.
 * Absence, a lost race and a missing answer are values. A store that fails throws `STORE_UNAVAILABLE`.
 *
 * Keys are relative paths of segments joined by `/`, such as `blobs/sha256/<64 hex>`. No segment is empty or starts with a
 * dot. `test/storage/contract.ts` holds every implementation to what is written here.
 */
import type { StowageError } from "../errors.ts";

/** What a store knows of an object without reading it. */
export interface ObjectInfo {
  readonly key: string;
  /** Length in bytes. */
  readonly size: number;
  /** Names this state of the object, without quotes. Opaque: its form is the store's own. */
  readonly etag: string;
}

/** A range of bytes; both ends are included, as in HTTP's `Range: bytes=start-end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** See `ObjectStore.maxOpenBodies`. */
export const defaultMaxOpenBodies = 128;

/** An object that is being read. */
export interface StoredObject extends ObjectInfo {
  /** The bytes, or those of the range. The caller reads them to the end or leaves the `for await` early. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

/** How an object is read: whole, or a range of it. */
export interface GetOptions extends CallOptions {
  readonly range?: ByteRange | undefined;
}

/** What a conditional write expects to find: the state with this ETag, or no object at all. */
export type PutCondition = { readonly etag: string } | "absent";

/** How a request is sent that must not take effect late. */
export interface SendOptions extends CallOptions {
  /**
   * Sends the request once, and not again if no answer comes. A second try could take effect long after the first, when
   * others have acted on its result. A request that was sent once and is answered is over.
   */
  readonly once?: boolean | undefined;
}

/** How bytes in memory are written. */
export interface PutOptions extends SendOptions {
  /** Decided by the store in one step. Without a condition the object is written in any case. */
  readonly condition?: PutCondition | undefined;
  /** SHA-256 of the bytes in hex. The store compares it with the bytes, if it can. */
  readonly checksum?: string | undefined;
}

/**
 * No answer came to a request. It may have taken effect, or may do so later. `unanswered` is what went wrong.
 */
export interface Unanswered {
  readonly unanswered: StowageError;
}

/** What became of a `put`. `conflict`: the condition does not hold. */
export type PutResult = { readonly etag: string } | "conflict" | Unanswered;

/** Bytes of known length on their way into the store. */
export interface ByteSource {
  /** Length in bytes. */
  readonly size: number;
  /** Chunks are kept: their memory must not be used again by the source. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** How a stream is written. */
export interface WriteOptions extends CallOptions {
  /** Decided when all bytes are there. Some stores look just before the last step: they are not made for races. */
  readonly condition?: PutCondition | undefined;
}

/** What is known of an object that is copied. */
export interface CopyOptions extends WriteOptions {
  /** Length in bytes. */
  readonly size: number;
  /** SHA-256 of the bytes in hex. A store that has to read the object compares it: `STORE_DAMAGED` if it differs. */
  readonly checksum?: string | undefined;
}

/** What became of a stream or a copy. */
export interface WriteResult {
  /** `conflict`: the condition does not hold. */
  readonly outcome: "written" | "conflict";
  /** In how many parts the bytes went, 0 if they went as one object. */
  readonly parts: number;
}

/** Makes URLs by which their holder can read or write one object for a while, past the service. */
export interface Presigner {
  /** A URL for GET of an object; `seconds` from now on it says no. */
  presignGet(key: string, options: { readonly seconds: number }): Promise<string>;
  /** A URL for one PUT, or several, of exactly `size` bytes. */
  presignPut(key: string, options: { readonly seconds: number; readonly size: number }): Promise<string>;
}

/** The reading half of a store. */
export interface StoreReader {
  /** Asks for an object without its bytes. Undefined if there is none. */
  head(key: string, options?: CallOptions): Promise<ObjectInfo | undefined>;

  /** Reads an object, undefined if there is none. `size` is the whole object's, also when a range of it is asked for. */
  get(key: string, options?: GetOptions): Promise<StoredObject | undefined>;
}

/**
 * A store, whole. Everything rests on the conditions of `put`: a store that ignores them is refused before anything is
 * written into it.
 */
export interface ObjectStore extends StoreReader {
  /** Names the store in messages: its URL, without secrets. */
  readonly url: string;
  /** Up to this many bytes are collected and go by `put`; more are streamed by `write`. */
  readonly partBytes: number;
  /**
   * Bodies that a service reads at once, on their way to clients: 128 if it is left out. All other requests together need as
   * many connections again.
   */
  readonly maxOpenBodies?: number | undefined;
  /** A store that clients cannot reach has none. */
  readonly presigner?: Presigner | undefined;
  /** How many bytes `write` holds at most while it streams `size` bytes. */
  writeBufferBytes(size: number): number;
  /** How many bytes `copy` holds at most for an object of `size` bytes: none if the store copies by itself. */
  copyBufferBytes(size: number): number;

  /**
   * Writes bytes that are in memory. With a condition this is compare and swap, and a request without an answer is a value,
   * `unanswered`; without a condition it is an error. A `put` that is not sent once may answer `conflict` of its own write
   * if others have written since.
   */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<PutResult>;

  /**
   * Streams bytes of any length, whole or not at all: none is visible before all are. The body is read to its end, also if
   * the condition does not hold. If the body throws, or has another length (`SIZE_INVALID`), `write` rejects with that error
   * and leaves nothing behind: no object, no upload, no file.
   */
  write(key: string, source: ByteSource, options?: WriteOptions): Promise<WriteResult>;

  /**
   * Copies an object, whole or not at all. The store copies by itself, if it can; otherwise the bytes pass this process.
   * The source may be used up; the caller deletes it in any case. Throws `STORE_UNAVAILABLE` if it is not there.
   */
  copy(from: string, to: string, options: CopyOptions): Promise<WriteResult>;

  /** The objects whose keys start with `prefix`, in the store's own order: SeaweedFS lists `a/b` before `a-b`. */
  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo>;

  /**
   * Deletes an object; one that is not there is no error. A deletion that is sent once and gets no answer is a value,
   * `unanswered`; otherwise it is an error.
   */
  delete(key: string, options?: SendOptions): Promise<Unanswered | undefined>;
}

/** The result of a `put` that has an answer. Throws what went wrong if none came. */
export function answered(result: PutResult): Exclude<PutResult, Unanswered> {
  if (result !== "conflict" && "unanswered" in result) throw result.unanswered;
  return result;
}

/** The result of a `write` or a `copy` that ended as this `put` did. Throws what went wrong if no answer came. */
export function writeResultOf(result: PutResult, parts = 0): WriteResult {
  return { outcome: answered(result) === "conflict" ? "conflict" : "written", parts };
}
