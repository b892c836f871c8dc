/** Writes objects to R2: bytes in memory by one request, large streams in parts. */
import { Buffer } from "node:buffer";
import { algorithmOf, hexOf } from "../../digest.ts";
import type { StowageError } from "../../errors.ts";
import { uploadParts } from "../multipart-upload.ts";
import {
  type ByteSource,
  type PutCondition,
  type PutOptions,
  type PutResult,
  type WriteResult,
  writeResultOf,
} from "../object-store.ts";
import { holds, settleWrite, writeIdName } from "../settle-write.ts";
import { WrittenBody } from "../written-body.ts";
import type { R2Object, R2UploadedPart } from "./r2-bucket.ts";
import { headR2Object } from "./r2-read.ts";
import { type R2Request, askR2, isPassing, r2Unavailable } from "./r2-request.ts";

interface WriteRequest extends R2Request {
  readonly condition: PutCondition | undefined;
}

/** Writes bytes that are in memory. R2 itself verifies the digest. */
export async function putR2Object(
  bytes: Uint8Array,
  { digest, ...request }: WriteRequest & Pick<PutOptions, "digest">,
): Promise<PutResult> {
  const { bucket, at, condition, signal } = request;
  const writeId = crypto.randomUUID();
  const options = {
    customMetadata: { [writeIdName]: writeId },
    ...(condition !== undefined && { onlyIf: onlyIf(condition) }),
    ...(digest !== undefined && { [algorithmOf(digest)]: hexOf(digest) }),
  };
  let tries = 0;
  const send = async (): Promise<R2Object | null> => {
    tries += 1;
    return bucket.put(at, bytes, options);
  };
  let failure: StowageError | undefined;
  try {
    const written = await askR2(request, send);
    if (written !== null) return { etag: written.etag };
    if (tries === 1) return "conflict";
  } catch (error) {
    signal?.throwIfAborted();
    failure = r2Unavailable(error, request);
    if (tries === 1 && !isPassing(error)) throw failure; // R2 said that it did nothing
  }
  return settleWrite({
    ...request,
    writeId,
    isLost: failure === undefined,
    failure: failure ?? r2Unavailable(new Error("no answer came to its first try"), request),
    look: async () => headR2Object({ ...request, once: false }),
  });
}

interface UploadRequest extends WriteRequest {
  /** Bytes of each part except the last. */
  readonly partBytes: number;
  /** Parts that are in memory at once: one is being filled, the others are being sent. */
  readonly queueSize: number;
}

/**
 * Streams an object that is larger than a part. R2 completes an upload without a condition, so this checks the object
 * just before.
 */
export async function writeR2Object(source: ByteSource, request: UploadRequest): Promise<WriteResult> {
  const { condition } = request;
  const writeId = crypto.randomUUID();
  const look = async () => headR2Object(request);
  let parts = 0;
  const complete = async (finish: () => Promise<unknown>, count: number): Promise<WriteResult["outcome"]> => {
    parts = count;
    if (condition !== undefined && !holds(condition, await look())) return "conflict";
    try {
      await finish();
      return "written";
    } catch (error) {
      const failure = r2Unavailable(error, request);
      return writeResultOf(await settleWrite({ ...request, writeId, isLost: false, failure, look })).outcome;
    }
  };
  const customMetadata = { [writeIdName]: writeId };
  const outcome = await uploadToR2(source, { ...request, customMetadata, complete });
  return { outcome, parts };
}

/** "Absent" is sent as a header: some versions of R2 took the `*` of `etagDoesNotMatch: "*"` for an ETag. */
function onlyIf(condition: PutCondition): { readonly etagMatches: string } | Headers {
  return condition === "absent" ? new Headers({ "If-None-Match": "*" }) : { etagMatches: condition.etag };
}

interface R2Upload extends UploadRequest {
  readonly customMetadata: Record<string, string>;
  /** Calls `finish`, which makes an object of `count` parts, if the condition holds. */
  readonly complete: (finish: () => Promise<unknown>, count: number) => Promise<WriteResult["outcome"]>;
}

/**
 * Reads the body to its end. The body must not be empty. Rejects with the body's error, the signal's reason, or
 * `STORE_UNAVAILABLE`. The last part is sent only after the body has ended without an error.
 */
async function uploadToR2(source: ByteSource, request: R2Upload): Promise<WriteResult["outcome"]> {
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
      complete: (parts) => complete(() => askR2(unsignaled, () => upload.complete([...parts])), parts.length),
      abort: () => upload.abort(),
    },
    cutIntoParts(chunks, source.size, partBytes, spare),
    queueSize,
  );
}

/**
 * Copies `size` bytes, or all bytes, into parts. The last part comes only after the body has ended. The memory of sent parts (`spare`)
 * is used again: otherwise large garbage fills a Worker's memory.
 */
async function* cutIntoParts(
  chunks: AsyncIterable<Uint8Array>,
  size: number | undefined,
  partBytes: number,
  spare: Uint8Array[],
): AsyncGenerator<readonly [number, Uint8Array]> {
  let left = size ?? Infinity;
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
  yield [index, part.subarray(0, filled)];
}
