/**
 * The bytes of a push session, as segments in the store. Each request that brings bytes makes one segment. A segment
 * has two objects:
 *
 *     staging/push/<owner>/<session>/<uuid>          its bytes
 *     staging/push/<owner>/<session>/at-<offset>     its record: {"size", "digest", "data"}
 *
 * A record is created after its bytes are whole, and only if there is none for this offset. So one of two requests for
 * one offset wins, also if they run in two processes. Bytes without a record do not count. A segment begins where the
 * segment before ends, so the last record tells how many bytes have come. Unfinished sessions expire by age.
 */
import { type Digest, isDigest } from "../digest.ts";
import { limitExceeded, messageOf, StowageError } from "../errors.ts";
import {
  offsetOfSegmentKey,
  ownerPrefix,
  recordsPrefix,
  segmentDataKey,
  segmentKey,
  segmentsPrefix,
} from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { dropStaged, stageBytes } from "../layout/stage-blob.ts";
import type { StoreBlobOptions } from "../layout/store-blob.ts";
import { isJsonObject, parseJson } from "../oci/json.ts";
import { answered, type CallOptions, type ObjectStore } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import type { PeekableBytes } from "../streams/byte-reader.ts";
import { concurrently } from "../streams/concurrently.ts";
import type { PushSession } from "./session.ts";

/** The bytes of one request of a push, in the store. */
export interface Segment {
  /** The offset of its first byte in the blob. */
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
  /** The digest of the segment's bytes, by the algorithm of the session. */
  readonly digest: Digest;
  /** The key of its bytes. */
  readonly key: string;
}

/**
 * Segments of one blob. Each chunk of a client makes one. With chunks of the least size (`minChunkBytes` in
 * `http/push-routes.ts`), all have 39 GiB.
 */
const maxSegments = 10_000;
/** A chunk out of order is read to its end up to this size. Chunks of clients have some MiB. */
const maxSkippedBytes = 16 * 1024 * 1024;
/** Sessions of one caller that have bytes and are not closed. They expire after two days. */
const maxOpenSessions = 1000;
/** Keys of a caller's sessions that are listed when a session gets its first bytes. */
const maxListedKeys = 10_000;
const maxRecordBytes = 1000;
const maxConcurrentDeletes = 16;

/** The bytes of one request. The caller limits them to `maxBlobBytes`. */
export interface Chunk {
  /** The offset of the chunk, as the client says. Undefined: the chunk follows the bytes that have come. */
  readonly start: number | undefined;
  /** Length in bytes, if the client announces it. */
  readonly size: number | undefined;
  readonly body: PeekableBytes;
}

/**
 * Appends a chunk to the session's bytes. Returns the number of bytes that have come in all. Throws `RANGE_INVALID` if
 * the chunk does not begin at the end of these bytes, or if another request was faster: `expected` in its detail is the
 * right offset. Throws `LIMIT_EXCEEDED` if the blob has too many bytes or segments, and `TOOMANYREQUESTS` if the caller
 * has too many other sessions open. After an error the session is as before.
 */
export async function appendChunk(
  layout: Layout,
  session: PushSession,
  { start, size, body }: Chunk,
  options: StoreBlobOptions,
): Promise<number> {
  const { store, signal } = options;
  // Only a first chunk counts the caller's other sessions.
  const offsets = await (start ? listOffsets : listOwnOffsets)(store, session, { signal });
  const end = await endOf(store, session, offsets, { signal });
  if (start !== undefined && start !== end) {
    if (size !== undefined && size <= maxSkippedBytes) await skip(body);
    throw outOfOrder(start, end);
  }
  if (offsets.length >= maxSegments) {
    const problem = "Cannot take the chunk: the blob came in too many chunks";
    throw limitExceeded(problem, { found: offsets.length + 1, expected: maxSegments });
  }
  checkBlobBytes(end + (size ?? 0), layout);
  if ((await body.peek(1)).length === 0) return end;
  const key = segmentDataKey(session.id, crypto.randomUUID());
  const staged = await stageBytes(key, { size, body, algorithm: session.algorithm }, options);
  const received = end + staged.size;
  if (received <= layout.limits.maxBlobBytes) {
    if (await createRecord(store, session, { offset: end, key, ...staged }, { signal })) return received;
  }
  await dropStaged(key, options);
  checkBlobBytes(received, layout);
  const found = await endOf(store, session, await listOffsets(store, session, { signal }), { signal });
  throw outOfOrder(end, found);
}

/**
 * Reads the rest of a body that is refused. Some proxies, such as that of `wrangler dev`, lose an answer that comes
 * before the whole body is read, and the client needs this answer to go on. If the body breaks off, nobody waits for
 * the answer.
 */
async function skip(body: PeekableBytes): Promise<void> {
  try {
    for await (const _ of body);
  } catch {
    // the answer tells what to send next
  }
}

/** Throws `LIMIT_EXCEEDED`. */
export function checkBlobBytes(found: number, { limits: { maxBlobBytes } }: Pick<Layout, "limits">): void {
  if (found <= maxBlobBytes) return;
  throw limitExceeded(`Cannot take the blob: it has ${found} bytes or more`, {
    limit: "maxBlobBytes",
    found,
    expected: maxBlobBytes,
  });
}

/** The number of bytes that have come. */
export async function receivedBytes(store: ObjectStore, session: PushSession, options: CallOptions): Promise<number> {
  return endOf(store, session, await listOffsets(store, session, options), options);
}

/**
 * Yields the bytes of the segments at all offsets. A segment is opened when the one before has been read. Throws
 * `BLOB_UPLOAD_UNKNOWN` if one is gone.
 */
export async function* readSegments(
  store: ObjectStore,
  session: PushSession,
  offsets: readonly number[],
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  let end = 0;
  for (const offset of offsets) {
    const { key, size } = await readSegment(store, session, offset, options);
    const object = offset === end ? await store.get(key, options) : undefined;
    if (object === undefined) throw goneSession(session.id);
    if (object.size !== size) {
      await object.body[Symbol.asyncIterator]().return?.();
      throw new StowageError(
        "STORE_DAMAGED",
        `Cannot read "${key}": found ${object.size} bytes, expected ${size} bytes`,
      );
    }
    yield* object.body;
    end += size;
  }
}

/**
 * Deletes all objects of a session. A failure is no error: the objects expire. A session of one segment is not listed:
 * bytes of a chunk that lost a race expire too.
 */
export async function dropSession(store: ObjectStore, { id }: PushSession, only?: Segment): Promise<void> {
  const first = segmentKey(id, 0);
  try {
    const keys = only === undefined ? [] : [only.key];
    if (only === undefined) for await (const { key } of store.list(segmentsPrefix(id))) keys.push(key);
    // The first record goes first: without it the session is over.
    if (keys.length > 0) await store.delete(first);
    await concurrently(
      keys.filter((key) => key !== first),
      maxConcurrentDeletes,
      async (key) => dropStaged(key, { store }),
    );
  } catch {
    // it expires
  }
}

/** The offsets of all segments, in their order. Throws `BLOB_UPLOAD_UNKNOWN` if the first segment is gone. */
export async function listOffsets(store: ObjectStore, { id }: PushSession, options: CallOptions): Promise<number[]> {
  const offsets: number[] = [];
  for await (const { key } of store.list(recordsPrefix(id), options)) {
    const offset = offsetOfSegmentKey(key, id);
    if (offset !== undefined) offsets.push(offset);
  }
  return sortOffsets(offsets, id);
}

/** Like `listOffsets`, and counts the caller's open sessions with the same request. */
async function listOwnOffsets(store: ObjectStore, session: PushSession, options: CallOptions): Promise<number[]> {
  const { id } = session;
  const prefix = ownerPrefix(id);
  const offsets: number[] = [];
  const others = new Set<string>();
  let keys = 0;
  for await (const { key } of store.list(prefix, options)) {
    const other = key.slice(prefix.length, key.indexOf("/", prefix.length));
    const offset = other === id ? offsetOfSegmentKey(key, id) : undefined;
    if (offset !== undefined) offsets.push(offset);
    else if (other !== id) others.add(other);
    if (others.size < maxOpenSessions && ++keys < maxListedKeys) continue;
    const own = await listOffsets(store, session, options); // the listing of all sessions was left early
    if (own.length > 0 || others.size < maxOpenSessions) return own;
    throw tooManySessions();
  }
  return sortOffsets(offsets, id);
}

function tooManySessions(): StowageError {
  const message =
    `Cannot begin another upload: this caller has ${maxOpenSessions} that have bytes and are not finished. ` +
    "End them by DELETE, or wait: they expire after two days";
  return new StowageError("TOOMANYREQUESTS", message, {
    detail: { limit: "maxOpenSessions", expected: maxOpenSessions },
  });
}

function sortOffsets(offsets: number[], id: string): number[] {
  offsets.sort((a, b) => a - b);
  if ((offsets[0] ?? 0) > 0) throw goneSession(id);
  return offsets;
}

async function endOf(
  store: ObjectStore,
  session: PushSession,
  offsets: readonly number[],
  options: CallOptions,
): Promise<number> {
  const last = offsets.at(-1);
  if (last === undefined) return 0;
  const { offset, size } = await readSegment(store, session, last, options);
  return offset + size;
}

/** Returns false if another request has created a record for the same offset. */
async function createRecord(
  store: ObjectStore,
  session: PushSession,
  { offset, size, digest, key }: Segment,
  { signal }: CallOptions,
): Promise<boolean> {
  const data = key.slice(segmentDataKey(session.id, "").length);
  const bytes = new TextEncoder().encode(JSON.stringify({ size, digest, data }));
  const result = await store.put(segmentKey(session.id, offset), bytes, { condition: "absent", signal });
  if (answered(result) !== "conflict") return true;
  // The first try may have created the record although no answer came.
  return (await readSegment(store, session, offset, { signal })).key === key;
}

/** Throws `BLOB_UPLOAD_UNKNOWN` if the record is gone, and `STORE_DAMAGED` if it cannot be read. */
export async function readSegment(
  store: ObjectStore,
  { id }: PushSession,
  offset: number,
  { signal }: CallOptions,
): Promise<Segment> {
  const recordKey = segmentKey(id, offset);
  const found = await readSmallObject(store, recordKey, { maxBytes: maxRecordBytes, signal });
  if (found === undefined) throw goneSession(id);
  try {
    const json = parseJson(found.bytes);
    const { size, digest, data } = isJsonObject(json) ? json : {};
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 1) throw new Error("expected a size");
    if (!isDigest(digest) || typeof data !== "string") throw new Error("expected digest and data");
    return { offset, size, digest, key: segmentDataKey(id, data) };
  } catch (error) {
    throw new StowageError("STORE_DAMAGED", `Cannot read "${recordKey}": ${messageOf(error)}`, { cause: error });
  }
}

export function goneSession(id: string): StowageError {
  const message = `Cannot go on with upload "${id}": it was finished, cancelled or has expired meanwhile`;
  return new StowageError("BLOB_UPLOAD_UNKNOWN", message);
}

function outOfOrder(start: number, end: number): StowageError {
  const message = `Cannot take the chunk: it begins at byte ${start}, expected ${end}, since ${end} bytes have come`;
  return new StowageError("RANGE_INVALID", message, { detail: { found: start, expected: end } });
}
