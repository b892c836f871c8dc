/**
 * Ends a push session: its bytes become a blob.
 *
 * - All bytes came in one request: they were hashed on their way, so the store copies them and nothing is read again.
 * - They came in several requests: their segments are read in order and hashed on their way to the blob.
 * - No byte came before the closing request: the body goes the way of a load's blob, without staging.
 */
import { type Digest, algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { headBlob } from "../layout/blobs.ts";
import type { Layout } from "../layout/layout.ts";
import { promoteStaged } from "../layout/stage-blob.ts";
import { type StoreBlobOptions, storeBlob } from "../layout/store-blob.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { checkDigest } from "../streams/verify-bytes.ts";
import {
  type Chunk,
  type Segment,
  appendChunk,
  checkBlobBytes,
  dropSession,
  goneSession,
  readSegments,
} from "./segments.ts";
import type { PushSession } from "./session.ts";

/**
 * Appends the last chunk, if there is one, and stores the blob. Throws `DIGEST_INVALID` if the bytes have another digest: the
 * session is then as before. Throws the errors of `appendChunk`, and `BLOB_UPLOAD_UNKNOWN` if no byte has come.
 */
export async function closeSession(
  layout: Layout,
  session: PushSession,
  last: Chunk & { readonly digest: Digest },
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store, signal } = options;
  const { digest, size, start = 0 } = last;
  const hasBody = (await last.body.peek(1)).length > 0;
  const before = await readSegments(store, session, { signal });
  if (hasBody && before.length === 0 && start === 0 && size !== undefined) {
    return pushWhole(layout, { digest, size, body: last.body }, options);
  }
  if (hasBody) await appendChunk(layout, session, last, options);
  const segments = hasBody ? await readSegments(store, session, { signal }) : before;
  if (segments.length === 0) return closeEmpty(layout, session, digest, options);
  const status = await storeSegments(segments, digest, options);
  await dropSession(store, session);
  return status;
}

/** A blob that comes in one request with its digest and its length. */
interface WholeBlob extends Pick<Chunk, "body"> {
  readonly digest: Digest;
  /** Length in bytes. */
  readonly size: number;
}

/** Stores a blob that comes in one request. Throws `SIZE_INVALID`, `DIGEST_INVALID` and `LIMIT_EXCEEDED`. */
export async function pushWhole(layout: Layout, blob: WholeBlob, options: StoreBlobOptions): Promise<BlobStatus> {
  checkBlobBytes(blob.size, layout);
  return (await storeBlob(blob, options)).stored;
}

/** A client that got no answer closes its session again: the blob is there then. The blob of no bytes needs no bytes. */
async function closeEmpty(
  layout: Layout,
  { id }: PushSession,
  digest: Digest,
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store, signal } = options;
  if ((await headBlob(store, digest, { signal })) !== undefined) return "present";
  const empty = { digest, size: 0, body: new ByteReader(noBytes()).stream() };
  return pushWhole(layout, empty, options).catch((error: unknown) => {
    throw error instanceof StowageError && error.code === "DIGEST_INVALID" ? goneSession(id) : error;
  });
}

// oxlint-disable-next-line require-yield
async function* noBytes(): AsyncGenerator<Uint8Array> {}

async function storeSegments(
  segments: readonly Segment[],
  digest: Digest,
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store, signal } = options;
  const [first] = segments;
  const size = segments.reduce((sum, segment) => sum + segment.size, 0);
  if (first !== undefined && segments.length === 1 && algorithmOf(first.digest) === algorithmOf(digest)) {
    checkDigest({ digest, size }, first.digest);
    return promoteStaged(first.key, first, options);
  }
  const body = new ByteReader(bytesOf(store, segments, signal)).stream();
  return (await storeBlob({ digest, size, body }, options)).stored;
}

/** The bytes of all segments. Opens each when the one before has been read. Throws `STORE_DAMAGED`. */
async function* bytesOf(
  store: ObjectStore,
  segments: readonly Segment[],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (const { key, size } of segments) {
    const object = await store.get(key, { signal });
    if (object?.size !== size) {
      await object?.body[Symbol.asyncIterator]().return?.();
      const found = object === undefined ? "it is gone" : `found ${object.size} bytes`;
      throw new StowageError("STORE_DAMAGED", `Cannot read "${key}": ${found}, expected ${size} bytes`);
    }
    yield* object.body;
  }
}
