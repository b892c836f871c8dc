/** Streams a large object to R2 in parts, several at a time. */
import { Buffer } from "node:buffer";
import { uploadParts } from "../multipart-upload.ts";
import type { ByteSource, WriteResult } from "../object-store.ts";
import { WrittenBody } from "../written-body.ts";
import type { R2UploadedPart } from "./r2-bucket.ts";
import { type R2Request, askR2 } from "./r2-request.ts";

export interface R2Upload extends R2Request {
  readonly customMetadata: Record<string, string>;
  /** Bytes of each part except the last. */
  readonly partBytes: number;
  /** Parts that are in memory at once: one is being filled, the others are being sent. */
  readonly queueSize: number;
  /** Calls `finish`, which makes an object of the parts, if the condition holds. */
  readonly complete: (finish: () => Promise<unknown>) => Promise<WriteResult["outcome"]>;
}

/**
 * Reads the body to its end. The body must not be empty. Rejects with the body's error, the signal's reason, or
 * `STORE_UNAVAILABLE`. The last part is sent only after the body has ended without an error.
 */
export async function uploadToR2(source: ByteSource, request: R2Upload): Promise<WriteResult["outcome"]> {
  const { bucket, at, key, customMetadata, partBytes, queueSize, complete, signal } = request;
  const unsignaled = { ...request, signal: undefined }; // requests that run must end before the upload is aborted
  const upload = await askR2(unsignaled, () => bucket.createMultipartUpload(at, { customMetadata }));
  const spare: Uint8Array[] = [];
  const { chunks } = new WrittenBody(key, source, signal);
  return uploadParts<Uint8Array, R2UploadedPart>(
    {
      async send(bytes, partNumber) {
        const part = await askR2(unsignaled, () => upload.uploadPart(partNumber, bytes));
        if (bytes.length === partBytes) spare.push(bytes);
        return part;
      },
      complete: (parts) => complete(() => askR2(unsignaled, () => upload.complete([...parts]))),
      abort: () => upload.abort(),
    },
    cutIntoParts(chunks, source.size, partBytes, spare),
    queueSize,
  );
}

/**
 * Copies `size` bytes into parts. The last part comes only after the body has ended. The memory of sent parts (`spare`)
 * is used again: otherwise large garbage fills a Worker's memory.
 */
async function* cutIntoParts(
  chunks: AsyncIterable<Uint8Array>,
  size: number,
  partBytes: number,
  spare: Uint8Array[],
): AsyncGenerator<readonly [number, Uint8Array]> {
  let left = size;
  const newPart = (): Uint8Array => (spare.pop() ?? Buffer.allocUnsafeSlow(partBytes)).subarray(0, left);
  let index = 0;
  let part = newPart();
  let filled = 0;
  for await (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0;) {
      if (filled === part.length) {
        yield [index++, part];
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
  yield [index, part];
}
