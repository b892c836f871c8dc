/** Streams a large object to R2 in parts, a few of them under way at a time. */
import { Buffer } from "node:buffer";
import { abortable } from "../../streams/abortable.ts";
import { concurrently } from "../../streams/concurrently.ts";
import { wrongSize } from "../../streams/verify-bytes.ts";
import type { ByteSource } from "../object-store.ts";
import type { R2MultipartUpload, R2UploadedPart } from "./r2-bucket.ts";
import { type R2Request, askR2 } from "./r2-request.ts";

type Outcome = "written" | "conflict";

export interface UploadPartsOptions extends R2Request {
  readonly customMetadata: Record<string, string>;
  /** Of each part but the last. */
  readonly partBytes: number;
  /** Parts that are held at once: one of them is being filled, the others are under way. */
  readonly queueSize: number;
  /** Makes an object of the parts by `finish`, unless that would be a conflict. */
  readonly complete: (finish: () => Promise<unknown>) => Promise<Outcome>;
}

/**
 * Reads the body, which is not empty, to its end. Rejects with what it throws, with the signal's reason, or with
 * `STORE_UNAVAILABLE`. No upload is left open, and none is completed unless the body has ended as it should: the last part
 * leaves only then.
 */
export async function uploadParts(source: ByteSource, options: UploadPartsOptions): Promise<Outcome> {
  const { bucket, at, customMetadata, partBytes, queueSize, signal } = options;
  const unsignaled = { ...options, signal: undefined }; // what is under way must have ended before the upload does
  const upload = await askR2(unsignaled, () => bucket.createMultipartUpload(at, { customMetadata }));
  const spare: Uint8Array[] = [];
  try {
    const parts: R2UploadedPart[] = [];
    const body = inParts({ size: source.size, body: abortable(source.body, signal) }, { ...options, spare });
    await concurrently(body, queueSize, async ({ index, bytes }) => {
      parts[index] = await askR2(unsignaled, () => upload.uploadPart(index + 1, bytes));
      if (bytes.length === partBytes) spare.push(bytes);
    });
    const outcome = await options.complete(() => askR2(unsignaled, () => upload.complete(parts)));
    if (outcome === "conflict") await giveUp(upload);
    return outcome;
  } catch (error) {
    await giveUp(upload);
    throw error;
  }
}

/** An upload that cannot be given up is aborted by R2 itself after a week. */
async function giveUp(upload: R2MultipartUpload): Promise<void> {
  await upload.abort().catch(() => undefined);
}

interface Part {
  readonly index: number;
  readonly bytes: Uint8Array;
}

interface PartsOptions extends Pick<UploadPartsOptions, "key" | "partBytes"> {
  /** Memory of parts that have gone: used again, since garbage of this size stays long and fills a Worker. */
  readonly spare: Uint8Array[];
}

/** Copies the bytes into parts; the last one comes only once the body has ended. */
async function* inParts({ size, body }: ByteSource, { key, partBytes, spare }: PartsOptions): AsyncGenerator<Part> {
  const wrong = (received: number): Error => wrongSize(JSON.stringify(key), { received, size });
  const newPart = (): Uint8Array => (spare.pop() ?? Buffer.allocUnsafeSlow(partBytes)).subarray(0, left);
  let index = 0;
  let left = size;
  let part = newPart();
  let filled = 0;
  for await (const chunk of body) {
    for (let rest = chunk; rest.length > 0;) {
      if (filled === left) throw wrong(size + 1);
      if (filled === part.length) {
        yield { index: index++, bytes: part };
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
  if (filled !== left) throw wrong(size - left + filled);
  yield { index, bytes: part };
}
