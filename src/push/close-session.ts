/**
 * Ends a push session: its bytes become a blob. There are three ways, by the requests that brought the bytes:
 *
 * - One request before the closing one: the bytes were hashed on their way. So the store copies them, and nothing is
 *   read again.
 * - Several requests: their segments are read in order and hashed on their way to the blob.
 * - Only the closing request: its body goes the way of a load's blob, and nothing lies under `staging/`.
 */
import { type Digest, algorithmOf } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { headBlob } from "../layout/blobs.ts";
import type { Layout } from "../layout/layout.ts";
import { promoteStaged } from "../layout/stage-blob.ts";
import { type StoreBlobOptions, storeBlob } from "../layout/store-blob.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { oneChunk } from "../streams/readable-stream.ts";
import { checkDigest, isWrongBytes } from "../streams/verify-bytes.ts";
import {
  type Chunk,
  type Segment,
  appendChunk,
  checkBlobBytes,
  dropSession,
  goneSession,
  listOffsets,
  readSegment,
  readSegments,
} from "./segments.ts";
import type { PushSession } from "./session.ts";

/**
 * Appends the closing chunk, if it has bytes, and stores the blob. Throws `DIGEST_INVALID` if the bytes have another
 * digest: the session is then over. Throws the errors of `appendChunk`, and `BLOB_UPLOAD_UNKNOWN` if bytes are gone, or
 * if none have come.
 */
export async function closeSession(
  layout: Layout,
  session: PushSession,
  closing: Chunk & { readonly digest: Digest },
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  try {
    return await close(layout, session, closing, options);
  } catch (error) {
    const isGone = error instanceof StowageError && error.code === "BLOB_UPLOAD_UNKNOWN";
    // An earlier request may have closed the session, and its answer was lost.
    if (isGone && (await headBlob(options.store, closing.digest, options)) !== undefined) return "present";
    throw error;
  }
}

async function close(
  layout: Layout,
  session: PushSession,
  closing: Chunk & { readonly digest: Digest },
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store } = options;
  const { digest, size, start = 0 } = closing;
  const hasBody = (await closing.body.peek(1)).length > 0;
  const before = await listOffsets(store, session, options);
  if (hasBody && before.length === 0 && start === 0 && size !== undefined) {
    return pushWhole(layout, { digest, size, body: closing.body }, options);
  }
  if (hasBody) await appendChunk(layout, session, closing, options);
  const offsets = hasBody ? await listOffsets(store, session, options) : before;
  if (offsets.length === 0) return closeEmpty(layout, session, digest, options);
  const last = await readSegment(store, session, offsets.at(-1) ?? 0, options);
  const only = offsets.length === 1 ? last : undefined;
  const drop = async (): Promise<void> => dropSession(store, session, only);
  const status = await storeSegments(session, { offsets, last }, digest, options).catch(async (error: unknown) => {
    if (isWrongBytes(error)) await drop(); // otherwise each repeated PUT would read all bytes again
    throw error;
  });
  await drop();
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

/** A session without bytes becomes the empty blob, if the client names the digest of the empty blob. */
async function closeEmpty(
  layout: Layout,
  { id }: PushSession,
  digest: Digest,
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const empty = { digest, size: 0, body: new ByteReader(oneChunk(new Uint8Array())).stream() };
  return pushWhole(layout, empty, options).catch((error: unknown) => {
    throw isWrongBytes(error) ? goneSession(id) : error;
  });
}

interface Segments {
  /** The offsets of all segments. */
  readonly offsets: readonly number[];
  readonly last: Segment;
}

/** Stores the blob from its segments. */
async function storeSegments(
  session: PushSession,
  { offsets, last }: Segments,
  digest: Digest,
  options: StoreBlobOptions,
): Promise<BlobStatus> {
  const { store, signal } = options;
  if (offsets.length === 1 && algorithmOf(last.digest) === algorithmOf(digest)) {
    checkDigest({ digest, size: last.size }, last.digest);
    return promoteStaged(last.key, last, options).catch(async (error: unknown) => {
      throw (await store.head(last.key, { signal })) === undefined ? goneSession(session.id) : error;
    });
  }
  const body = readSegments(store, session, offsets, { signal });
  return (await storeBlob({ digest, size: last.offset + last.size, body }, options)).stored;
}
