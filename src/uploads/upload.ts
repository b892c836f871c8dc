/**
 * An upload in parts: its announcement, and its parts. Each part is an object of its own: every store can take it, a
 * part can be sent again by itself, and nothing has to be completed or aborted. Abandoned uploads expire by a lifecycle
 * rule on `staging/`.
 *
 *     staging/<id>.json         the announcement; it never changes
 *     staging/<id>.<number>     one part; numbers begin at 1; only the last part may be shorter than `partBytes`
 */
import { messageOf, quote, StowageError } from "../errors.ts";
import { uploadKey, uploadPrefix } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { isJsonObject, parseJson } from "../oci/json.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { readSmallObject } from "../storage/read-small-object.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface Upload {
  /** 32 lower-case hex digits. */
  readonly id: string;
  /** The name of the caller that began the upload. Other callers cannot see the upload. */
  readonly owner: string;
  /** Bytes of the whole tarball. */
  readonly size: number;
  readonly partBytes: number;
  /** A secret in the URLs of parts that the service takes. A client needs only this secret to send a part. */
  readonly key: string;
}

export interface UploadPart {
  readonly number: number;
  /** The offset of the part's first byte in the tarball. */
  readonly offset: number;
  /** Length in bytes. */
  readonly size: number;
}

const maxUploadBytes = 64 * 1024;

/** Reads the announcement. Throws `BLOB_UPLOAD_UNKNOWN` if there is no such upload. */
export async function readUpload({ store }: Layout, id: string, { signal }: CallOptions): Promise<Upload> {
  const found = isUploadId(id) && (await readSmallObject(store, uploadKey(id), { maxBytes: maxUploadBytes, signal }));
  if (!found) throw unknownUpload(id);
  return parseUpload(found.bytes, id);
}

/** Like `readUpload`. The upload of another caller is unknown, too. */
export async function readOwnUpload(layout: Layout, id: string, requester: Requester): Promise<Upload> {
  const upload = await readUpload(layout, id, requester);
  if (upload.owner !== requester.caller) throw unknownUpload(id);
  return upload;
}

/** All parts, in their order. */
export function* partsOf({ size, partBytes }: Pick<Upload, "size" | "partBytes">): Generator<UploadPart> {
  for (let number = 1, offset = 0; offset < size; number += 1, offset += partBytes) {
    yield { number, offset, size: Math.min(partBytes, size - offset) };
  }
}

export function partCountOf({ size, partBytes }: Pick<Upload, "size" | "partBytes">): number {
  return Math.ceil(size / partBytes);
}

export function serializeUpload(upload: Upload): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(upload));
}

function isUploadId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

function parseUpload(bytes: Uint8Array, id: string): Upload {
  try {
    const json = parseJson(bytes);
    if (!isJsonObject(json)) throw new Error("expected an object");
    const { owner, size, partBytes, key } = json;
    if (typeof owner !== "string" || typeof key !== "string") throw new Error("expected owner and key");
    if (!isLength(size) || !isLength(partBytes)) throw new Error("expected size and partBytes");
    return { id, owner, size, partBytes, key };
  } catch (error) {
    const message = `Cannot read "${uploadKey(id)}" in the store: ${messageOf(error)}`;
    throw new StowageError("STORE_DAMAGED", message, { cause: error });
  }
}

function isLength(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function unknownUpload(id: string): StowageError {
  const message = `Cannot find upload ${quote(id)}: it was loaded, deleted, has expired, or never began`;
  return new StowageError("BLOB_UPLOAD_UNKNOWN", message, { detail: { id } });
}

/** Objects that are deleted at the same time. */
const maxPendingDeletes = 16;

/** Deletes an upload. The announcement goes last: with it, a deletion that was interrupted can be repeated. */
export async function deleteUpload({ store }: Layout, id: string, { signal }: CallOptions = {}): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(uploadPrefix(id), { signal })) keys.push(key);
  const parts = keys.filter((key) => key !== uploadKey(id));
  await concurrently(parts, maxPendingDeletes, (key) => store.delete(key, { signal }));
  await store.delete(uploadKey(id), { signal });
}
