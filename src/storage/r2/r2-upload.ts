/** Streams a large object to R2 in parts, a few of them under way at a time. */
import { Buffer } from "node:buffer";
import { uploadParts } from "../multipart-upload.ts";
import type { ByteSource, WriteResult } from "../object-store.ts";
import { WrittenBody } from "../written-body.ts";
import type { R2UploadedPart } from "./r2-bucket.ts";
import { type R2Request, askR2 } from "./r2-request.ts";

export interface R2Upload extends R2Request {
  readonly customMetadata: Record<string, string>;
  /** Of each part but the last. */
  readonly partBytes: number;
  /** Parts that are held at once: one of them is being filled, the others are under way. */
  readonly queueSize: number;
  /** Makes an object of the parts by `finish`, unless that would be a conflict. */
  readonly complete: (finish: () => Promise<unknown>) => Promise<WriteResult["outcome"]>;
}

/**
 * Reads the body, which is not empty, to its end. Rejects with what it throws, with the signal's reason, or with
 * `STORE_UNAVAILABLE`. The last part leaves only once the body has ended as it should.
 */
export async function uploadToR2(source: ByteSource, request: R2Upload): Promise<WriteResult["outcome"]> {
  const { bucket, at, key, customMetadata, partBytes, queueSize, complete, signal } = request;
  const unsignaled = { ...request, signal: undefined }; // what is under way must have ended before the upload does
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
 * Copies `size` bytes into parts. The last part comes only once the body has ended. The memory of parts that have gone, `spare`,
 * is used again: garbage of this size stays long and fills a Worker.
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
