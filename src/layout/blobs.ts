/** Blobs by their digests. */
import { type Digest, Digester, algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type {
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StoreReader,
  StoredObject,
} from "../storage/object-store.ts";
import { type ReadSmallOptions, readSmallObject } from "../storage/read-small-object.ts";
import { blobKey, blobsPrefix, digestOfBlobKey } from "./keys.ts";

export async function headBlob(
  store: StoreReader,
  digest: Digest,
  options?: CallOptions,
): Promise<ObjectInfo | undefined> {
  return store.head(blobKey(digest), options);
}

export async function getBlob(
  store: StoreReader,
  digest: Digest,
  options?: GetOptions,
): Promise<StoredObject | undefined> {
  return store.get(blobKey(digest), options);
}

/** A blob as a listing shows it. */
export interface ListedBlob {
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
  readonly etag: string;
}

/** Lists all blobs. Skips an object whose name is not a digest. */
export async function* listBlobs(store: ObjectStore, options?: CallOptions): AsyncGenerator<ListedBlob> {
  for await (const { key, size, etag } of store.list(blobsPrefix, options)) {
    const digest = digestOfBlobKey(key);
    if (digest !== undefined) yield { digest, size, etag };
  }
}

/**
 * Makes a URL for one blob, or returns undefined if the store makes no URLs. A client reads the blob with the URL
 * directly from the store, for `seconds`.
 */
export async function presignBlob(
  { presigner }: ObjectStore,
  digest: Digest,
  options: { readonly seconds: number },
): Promise<string | undefined> {
  return presigner?.presignGet(blobKey(digest), options);
}

/**
 * Reads a whole small blob, such as a manifest. Returns undefined if the store does not have the blob. Throws
 * `STORE_DAMAGED` if the bytes have another digest, and `LIMIT_EXCEEDED` if there are too many bytes.
 */
export async function readSmallBlob(
  store: StoreReader,
  digest: Digest,
  options: ReadSmallOptions,
): Promise<Uint8Array | undefined> {
  const object = await readSmallObject(store, blobKey(digest), options);
  if (object === undefined) return undefined;
  const found = new Digester(algorithmOf(digest)).update(object.bytes).digest(); // takes microseconds for a manifest
  if (found === digest) return object.bytes;
  throw new StowageError(
    "STORE_DAMAGED",
    `Cannot read blob "${digest}": the store's copy is damaged, its ${object.bytes.length} bytes have digest "${found}"`,
    { detail: { digest, found } },
  );
}
