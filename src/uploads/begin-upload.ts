/** Begins an upload in parts. If the same caller has begun the same upload before, returns that upload. */
import { createHash, randomBytes } from "node:crypto";
import { limitExceeded } from "../errors.ts";
import { uploadKey } from "../layout/keys.ts";
import type { Layout } from "../layout/layout.ts";
import { answered } from "../storage/object-store.ts";
import { type Upload, readUpload, serializeUpload } from "./upload.ts";

export interface NewUpload {
  /** Bytes of the whole tarball. */
  readonly size: number;
  /** The caller's name for the upload: a second request with the same name finds the upload again. */
  readonly fingerprint?: string | undefined;
  readonly owner: string;
}

interface BegunUpload {
  readonly upload: Upload;
  /** False if the upload had begun before. */
  readonly isNew: boolean;
}

const mebibyte = 1024 * 1024;
/** A part that the service takes is held in memory as a whole. */
const minPartBytes = 8 * mebibyte;
/** An answer has at most this many presigned URLs. A larger upload has larger parts. */
const maxPresignedParts = 1000;
/** S3 takes no more in one PUT. */
const maxPresignedPartBytes = 5 * 1024 * mebibyte;
/**
 * The most parts that the service takes. Their size does not grow: 80 GiB are enough for a store that is not a bucket.
 */
const maxServedParts = 10_000;

/**
 * `maxRequestBytes`: the longest body that the platform lets through. Throws `LIMIT_EXCEEDED` if the upload is too
 * large for the allowed number of parts.
 */
export async function beginUpload(
  layout: Layout,
  announced: NewUpload,
  maxRequestBytes: number | undefined,
  signal: AbortSignal | undefined,
): Promise<BegunUpload> {
  const { store } = layout;
  const { size, owner } = announced;
  const partBytes = partBytesOf(layout, size, maxRequestBytes);
  const upload: Upload = { id: idOf(announced), owner, size, partBytes, key: newSecret() };
  const sent = store.put(uploadKey(upload.id), serializeUpload(upload), { condition: "absent", signal });
  const written = answered(await sent);
  if (written !== "conflict") return { upload, isNew: true };
  return { upload: await readUpload(layout, upload.id, { signal }), isNew: false };
}

/** The same caller, size and fingerprint give the same id. Without a fingerprint, the id is random. */
function idOf({ owner, size, fingerprint }: NewUpload): string {
  if (fingerprint === undefined) return newSecret();
  return createHash("sha256")
    .update(JSON.stringify([owner, size, fingerprint]))
    .digest("hex")
    .slice(0, 32);
}

/** 32 hex digits, 128 random bits. */
function newSecret(): string {
  return randomBytes(16).toString("hex");
}

function partBytesOf(layout: Layout, size: number, maxRequestBytes?: number): number {
  const isPresigned = layout.store.presigner !== undefined;
  const [partBytes, maxBytes] = isPresigned
    ? [Math.max(minPartBytes, wholeMebibytes(size / maxPresignedParts)), maxPresignedParts * maxPresignedPartBytes]
    : servedPartBytes(layout, maxRequestBytes);
  if (size <= maxBytes) return partBytes;
  throw limitExceeded(`Cannot take an upload of ${size} bytes`, { found: size, expected: maxBytes });
}

function wholeMebibytes(bytes: number): number {
  return Math.ceil(bytes / mebibyte) * mebibyte;
}

/** The size of a part is 8 MiB, or less if the platform cuts off longer bodies or there is less memory. */
function servedPartBytes(
  { budget }: Layout,
  maxRequestBytes = Number.POSITIVE_INFINITY,
): readonly [partBytes: number, maxBytes: number] {
  // one byte more is read, see `put-part.ts`
  const partBytes = Math.min(minPartBytes, maxRequestBytes, budget.maxBytes - 1);
  return [partBytes, maxServedParts * partBytes];
}
