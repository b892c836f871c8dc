/** Takes one part of an upload through the service, for a store to which clients cannot send parts directly. */
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

interface IncomingPart {
  readonly uploadId: string;
  /** The number in the URL: a whole number, at least 1. */
  readonly number: string;
  /** The secret of the upload, which the sender of a part must know. */
  readonly key: string;
  /** Length in bytes, if the client announces it. */
  readonly announcedBytes: number | undefined;
  /** Opens the body for a caller: the owner of the upload, since the URL needs no token. */
  readonly bodyFor: (owner: string) => WatchedSource;
}

/**
 * Takes a part into memory, so that the store gets a whole part or none. The part replaces an earlier part of the same
 * number. A part waits for a turn and for memory once its first byte has come. The signal ends these waits, the reading
 * and the writing. Throws `SIZE_INVALID` if the length is wrong, `DENIED` for a wrong key, `BLOB_UPLOAD_UNKNOWN`, and
 * `TOOMANYREQUESTS` if the turn does not come in time.
 */
export async function putPart(layout: Layout, incoming: IncomingPart, turns: Line, signal: AbortSignal): Promise<void> {
  const { store, budget } = layout;
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
    releases.push(await turns.acquire(1, { caller, signal, maxWaitMs: maxTurnWaitMs }));
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

/** Takes the same time for any number of equal characters, so the time tells nothing about the key. */
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

/** Reads up to one byte more than the part has, to find a body that is too long. */
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

/** The error of a body that breaks off differs by platform: it becomes `INTERRUPTED`. */
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
