/** Writes objects to R2: bytes in memory by one request, large streams in parts. */
import { algorithmOf, hexOf } from "../../digest.ts";
import type { StowageError } from "../../errors.ts";
import { uploadStream } from "../multipart-upload.ts";
import type { PartMemory } from "../part-memory.ts";
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
  readonly partBytes: number;
  readonly memory: PartMemory;
}

/**
 * Streams an object. R2 completes an upload without a condition, so this checks the object just before. The signal ends
 * the source. Requests that run must end before the upload is aborted.
 */
export async function writeR2Object(
  source: ByteSource,
  { partBytes, memory, ...request }: UploadRequest,
): Promise<WriteResult> {
  const { bucket, at, key, condition, signal } = request;
  const { size } = source;
  const unsignaled = { ...request, signal: undefined };
  const writeId = crypto.randomUUID();
  const look = async () => headR2Object(request);
  const { chunks } = new WrittenBody(key, source, signal);
  return uploadStream<R2UploadedPart>(chunks, memory, {
    isLarge: size !== undefined && size > partBytes,
    put: async (bytes) => writeResultOf(await putR2Object(bytes, { ...request, operation: "put" })),
    async open() {
      const customMetadata = { [writeIdName]: writeId };
      const upload = await askR2(unsignaled, () => bucket.createMultipartUpload(at, { customMetadata }));
      return {
        send: async (bytes, partNumber) => askR2(unsignaled, () => upload.uploadPart(partNumber, bytes)),
        async complete(parts) {
          if (condition !== undefined && !holds(condition, await look())) return "conflict";
          try {
            await askR2(unsignaled, () => upload.complete([...parts]));
            return "written";
          } catch (error) {
            const failure = r2Unavailable(error, request);
            return writeResultOf(await settleWrite({ ...request, writeId, isLost: false, failure, look })).outcome;
          }
        },
        abort: () => upload.abort(),
      };
    },
  });
}

/** "Absent" is sent as a header: some versions of R2 took the `*` of `etagDoesNotMatch: "*"` for an ETag. */
function onlyIf(condition: PutCondition): { readonly etagMatches: string } | Headers {
  return condition === "absent" ? new Headers({ "If-None-Match": "*" }) : { etagMatches: condition.etag };
}
