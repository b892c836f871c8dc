/** Takes one part of an upload, where the store has no addresses of its own to which clients could send it. */
import { Buffer } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import { messageOf, quote, StowageError } from "../errors.ts";
import { uploadPartKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { type Line, type Release, maxTurnWaitMs } from "../streams/line.ts";
import type { WatchedSource } from "../streams/watched-source.ts";
import { type Upload, type UploadPart, partsOf, readUpload } from "./upload.ts";

export interface IncomingPart {
  readonly uploadId: string;
  /** As in the URL: a whole number from 1 on. */
  readonly number: string;
  /** The secret of the upload, which whoever sends the part must know. */
  readonly key: string;
  /** Length in bytes, where the client says so beforehand. */
  readonly announcedBytes: number | undefined;
  /** The body, given the name that the request counts for: the URL needs no token, so it is that of the upload's owner. */
  readonly bodyFor: (owner: string) => WatchedSource;
}

export interface PutPartOptions {
  /** Turns of parts. */
  readonly parts: Line;
  /** Ends the waiting for a turn and for memory, the reading and the writing. */
  readonly signal: AbortSignal;
}

/**
 * Holds the part in memory, so that it is stored as a whole or not at all; one that was there is replaced. A turn and the
 * memory are taken once its first byte has come. Throws `SIZE_INVALID` if it has another length than was agreed, `DENIED` for
 * another key, `BLOB_UPLOAD_UNKNOWN`, and `TOOMANYREQUESTS` if no turn was to be had.
 */
export async function putPart(layout: Layout, incoming: IncomingPart, options: PutPartOptions): Promise<void> {
  const { store, budget } = layout;
  const { parts, signal } = options;
  const upload = await readUpload(layout, incoming.uploadId, { signal });
  if (!isSame(incoming.key, upload.key)) {
    throw new StowageError("DENIED", "Cannot take the part: its URL does not carry the key of this upload");
  }
  const part = partOf(upload, incoming.number);
  if (incoming.announcedBytes !== undefined) checkLength(part, incoming.announcedBytes);
  const caller = upload.owner;
  const releases: Release[] = [];
  const body = incoming.bodyFor(caller);
  try {
    await body.begin(signal);
    releases.push(await parts.acquire(1, { caller, signal, maxWaitMs: maxTurnWaitMs }));
    releases.push(await budget.take(part.size + 1, { caller, signal }));
    const bytes = await readPart(part, body);
    await store.put(uploadPartKey(upload.id, part.number), bytes, { signal });
  } catch (error) {
    throw signal.aborted ? interrupted(part, error) : error;
  } finally {
    await body.return();
    for (const release of releases) release();
  }
}

/** In a time that does not tell how much of it is right. */
function isSame(found: string, expected: string): boolean {
  const [a, b] = [Buffer.from(found), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function partOf(upload: Upload, number: string): UploadPart {
  const parts = [...partsOf(upload)];
  const part = parts.find((candidate) => String(candidate.number) === number);
  if (part !== undefined) return part;
  const message = `Cannot take part ${quote(number)}: the upload has parts 1 to ${parts.length}`;
  throw new StowageError("INPUT_INVALID", message);
}

/** Reads one byte more than it should get, to see that there is none. */
async function readPart(part: UploadPart, body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const reader = new ByteReader(body);
  try {
    const bytes = await collectBytes(reader.stream(part.size + 1), part.size + 1);
    checkLength(part, bytes.length);
    return bytes;
  } catch (error) {
    throw interrupted(part, error);
  } finally {
    await reader.close();
  }
}

/** A body that breaks off is its sender's doing; its own error says so only in a platform's words. */
function interrupted({ number }: UploadPart, error: unknown): StowageError {
  if (error instanceof StowageError) return error;
  const message = `Cannot take part ${number}: it broke off (${messageOf(error)})`;
  return new StowageError("INTERRUPTED", message, { cause: error });
}

function checkLength({ number, size }: UploadPart, found: number): void {
  if (found === size) return;
  const message = `Cannot take part ${number}: found ${found > size ? `more than ${size}` : found} bytes, expected ${size}`;
  throw new StowageError("SIZE_INVALID", message, { detail: { part: number, found, expected: size } });
}
