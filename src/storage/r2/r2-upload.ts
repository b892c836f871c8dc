/** Streams a large object to R2 in parts, a few of them under way at a time. */
import { Buffer } from "node:buffer";
import { StowageError } from "../../errors.ts";
import { abortable } from "../../streams/abortable.ts";
import { collectBytes } from "../../streams/collect-bytes.ts";
import type { R2Bucket, R2MultipartUpload, R2UploadedPart } from "./r2-bucket.ts";
import { type R2Call, askR2 } from "./r2-errors.ts";

export interface UploadPartsOptions {
  readonly bucket: R2Bucket;
  /** The key in the bucket. */
  readonly key: string;
  /** Length in bytes, more than none. */
  readonly size: number;
  /** Of each part but the last. */
  readonly partBytes: number;
  /** Parts that are held at once: one of them is being filled, the others are under way. */
  readonly queueSize: number;
  /** Names the upload in messages; its signal ends the reading of the body. */
  readonly call: R2Call;
  /** Looks at what lies there: is an object to be made of the parts? */
  readonly isWanted: () => Promise<boolean>;
}

/**
 * Reads the body to its end. Rejects with what it throws, with the signal's reason, or with `STORE_UNAVAILABLE`. No upload
 * is left open, and none is completed unless the body has ended as it should: the last part leaves only then.
 */
export async function uploadParts(
  body: AsyncIterable<Uint8Array>,
  options: UploadPartsOptions,
): Promise<"written" | "present"> {
  const { bucket, key, queueSize, call } = options;
  const unsignaled: R2Call = { ...call, signal: undefined }; // what is under way must have ended before the upload does
  const { value: upload } = await askR2(unsignaled, () => bucket.createMultipartUpload(key));
  const spare: Uint8Array[] = [];
  try {
    const parts: R2UploadedPart[] = [];
    await eachOf(inParts(abortable(body, call.signal), { ...options, spare }), queueSize, async (bytes, i) => {
      parts[i] = (await askR2(unsignaled, () => upload.uploadPart(i + 1, bytes))).value;
      if (bytes.length === options.partBytes) spare.push(bytes);
    });
    if (!(await options.isWanted())) {
      await giveUp(upload);
      return "present";
    }
    await askR2(unsignaled, () => upload.complete(parts)).catch(async (error: unknown) => {
      if (await options.isWanted()) throw error; // else it was completed, and only the answer was lost
    });
    return "written";
  } catch (error) {
    await giveUp(upload);
    throw error;
  }
}

/** An upload that cannot be given up is aborted by R2 itself after a week. */
async function giveUp(upload: R2MultipartUpload): Promise<void> {
  await upload.abort().catch(() => undefined);
}

interface PartsOptions extends Pick<UploadPartsOptions, "size" | "partBytes"> {
  /** Memory of parts that have gone: used again, since garbage of this size stays long and fills a Worker. */
  readonly spare: Uint8Array[];
}

/** Copies the bytes into parts; the last one comes only once the body has ended. */
async function* inParts(
  body: AsyncIterable<Uint8Array>,
  { size, partBytes, spare }: PartsOptions,
): AsyncGenerator<Uint8Array> {
  const newPart = (): Uint8Array => (spare.pop() ?? Buffer.allocUnsafeSlow(partBytes)).subarray(0, left);
  let left = size;
  let part = newPart();
  let filled = 0;
  for await (const chunk of body) {
    for (let rest = chunk; rest.length > 0;) {
      if (filled === left) throw wrongSize("more bytes", size);
      if (filled === part.length) {
        yield part;
        left -= filled;
        part = newPart();
        filled = 0;
      }
      const taken = rest.subarray(0, part.length - filled);
      part.set(taken, filled);
      filled += taken.length;
      rest = rest.subarray(taken.length);
    }
  }
  if (filled !== left) throw wrongSize(`${size - left + filled} bytes`, size);
  yield part;
}

/** Reads what is no more than a part, and goes as one object. Throws `SIZE_INVALID` if it has another length. */
export async function collectWhole(body: AsyncIterable<Uint8Array>, size: number): Promise<Uint8Array> {
  async function* counted(): AsyncGenerator<Uint8Array> {
    let received = 0;
    for await (const chunk of body) {
      received += chunk.length;
      if (received > size) throw wrongSize("more bytes", size);
      yield chunk;
    }
    if (received < size) throw wrongSize(`${received} bytes`, size);
  }
  return collectBytes(counted(), size);
}

function wrongSize(found: string, size: number): StowageError {
  return new StowageError("SIZE_INVALID", `Cannot upload ${found}, expected ${size}`);
}

/**
 * Works on what comes, so that no more than `limit` things are held at once, the one that comes next included. Throws the
 * first error, of the source or of the work, once no work is under way any more.
 */
async function eachOf<T>(
  source: AsyncIterable<T>,
  limit: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const pending = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let index = 0;
  try {
    for await (const item of source) {
      const task: Promise<void> = work(item, index++)
        .catch((error: unknown) => void failures.push(error))
        .finally(() => pending.delete(task));
      pending.add(task);
      if (pending.size >= limit) await Promise.race(pending);
      if (failures.length > 0) break;
    }
  } finally {
    await Promise.all(pending);
  }
  if (failures.length > 0) throw failures[0];
}
