/**
 * What Stowage asks of a store: one small interface, so that a bucket, a directory and a map in memory are alike to a
 * load. Absence and a lost race are values; a store that fails throws `STORE_UNAVAILABLE`.
 *
 * Keys are relative paths of segments joined by `/`, such as `blobs/sha256/<64 hex>`; no segment is empty or starts
 * with a dot. `test/storage/contract.ts` holds every implementation to what is written here.
 */

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
  /** The bytes, or those of the range. Whoever gets it reads it to the end or leaves the `for await` early. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call: it rejects with the signal's reason and leaves nothing behind. */
  readonly signal?: AbortSignal | undefined;
}

/** How a change is sent. */
export interface SendOptions extends CallOptions {
  /**
   * Sends the request once, and not again if no answer comes: a second one could take effect when others have long acted
   * on the first. Without an answer the call fails as `STORE_UNAVAILABLE`, and may have taken effect, or may yet; one that
   * has an answer, `conflict` above all, is over.
   */
  readonly once?: boolean | undefined;
}

/** How an object is read: whole, or a range of it. */
export interface GetOptions extends CallOptions {
  readonly range?: ByteRange | undefined;
}

/** What names a blob. */
export interface BlobIdentity {
  /** `sha256:<64 hex>`; decides the key. */
  readonly digest: string;
  /** Length in bytes. */
  readonly size: number;
}

/** A blob on its way into the store. */
export interface BlobSource extends BlobIdentity {
  /**
   * The bytes: whole where they are in memory and already verified, else a stream that throws *before* it lets go of
   * its last bytes if size or digest are wrong (`streams/verify-bytes.ts`). Chunks are kept: their memory must not be
   * used again by whoever made them.
   */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

/** How a blob is written. */
export interface PutBlobOptions extends CallOptions {
  /** The ETag of a damaged object that this blob replaces. Without it a blob is only ever created. */
  readonly replaces?: string | undefined;
}

/** What became of a blob. */
export interface PutBlobResult {
  /** `present`: somebody else stored the same blob first. */
  readonly outcome: "written" | "present";
  /** In how many parts the bytes went, 0 where they went as one object. */
  readonly parts: number;
}

/** Bytes whose digest is known only once they have all been read, on their way to a place of their own. */
export interface StagedSource {
  /** A key under `staging/` that nobody else uses. */
  readonly key: string;
  /** Length in bytes. */
  readonly size: number;
  /** As the stream of a blob, but that nothing verifies it. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** What became of a staged object. */
export type StagedResult = Pick<PutBlobResult, "parts">;

/** What a conditional write expects to find: the state with this ETag, or no object at all. */
export type PutCondition = { readonly etag: string } | "absent";

/** Makes URLs by which whoever knows them can read or write one object for a while, past the service. */
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
 * A store, whole. Whoever writes one of their own promises what stands here, above all of `putIf`: a store that ignores its
 * conditions is refused before anything is written into it.
 */
export interface ObjectStore extends StoreReader {
  /** Names the store in messages: its URL, without secrets. */
  readonly url: string;
  /** A blob of up to this many bytes is handed to `putBlob` whole; a larger one is streamed. */
  readonly partBytes: number;
  /**
   * Bodies of blobs that a service reads at once, on their way to clients: 128 if it is left out. Further requests, for
   * indexes, marks, commits and loads, have to find as many connections again beside those.
   */
  readonly maxOpenBodies?: number | undefined;
  /** Makes addresses of the store's own; a store that clients cannot reach has none. */
  readonly presigner?: Presigner | undefined;
  /** How many bytes `putBlob` and `putStaged` hold at most while they stream `size` bytes. */
  streamBufferBytes(size: number): number;
  /** How many bytes `promote` holds at most for a blob of `size` bytes: none where the store copies by itself. */
  promoteBufferBytes(size: number): number;

  /**
   * Stores a blob under its digest, whole or not at all: no byte of it is visible before every byte is. The body is
   * read to its end, also where the blob turns out to be present. If the body throws, `putBlob` rejects with that error
   * and leaves nothing behind: no object, no upload, no file.
   */
  putBlob(blob: BlobSource, options?: PutBlobOptions): Promise<PutBlobResult>;

  /**
   * Compare and swap of a small object: writes it only if the condition holds, decided by the store in one step.
   * Returns the new ETag, or `conflict` if the condition does not hold.
   */
  putIf(
    key: string,
    bytes: Uint8Array,
    condition: PutCondition,
    options?: SendOptions,
  ): Promise<{ readonly etag: string } | "conflict">;

  /**
   * Writes a small object that is in memory, whatever is there, so that whoever sends one part of an upload twice does no
   * harm. Only for what lies under `staging/`: all else is decided by conditions.
   */
  put(key: string, bytes: Uint8Array, options?: CallOptions): Promise<void>;

  /**
   * Streams an object of any size to a new key under `staging/`, whole or not at all, for bytes whose digest is known only
   * once they have gone by. If the body throws, `putStaged` rejects with that error and leaves nothing behind. `parts` is
   * as for a blob.
   */
  putStaged(source: StagedSource, options?: CallOptions): Promise<StagedResult>;

  /**
   * Makes a staged object, whose bytes the caller has hashed, a blob: whole or not at all, and as with `putBlob` only ever
   * created, but for `replaces`. The store copies by itself, where it can; one that cannot reads the object and writes it.
   * Two callers at once may both copy: under a digest there is one content. The staged object may be used up; whoever
   * put it there deletes it in any case. `parts` is as for a blob.
   */
  promote(stagedKey: string, blob: BlobIdentity, options?: PutBlobOptions): Promise<PutBlobResult>;

  /** The objects whose keys start with `prefix`, in the store's own order: SeaweedFS lists `a/b` before `a-b`. */
  list(prefix: string, options?: CallOptions): AsyncIterable<ObjectInfo>;

  /** Deletes an object; one that is not there is no error. */
  delete(key: string, options?: SendOptions): Promise<void>;
}
