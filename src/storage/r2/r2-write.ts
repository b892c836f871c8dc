/** Writes objects to R2: bytes in memory by one request, large streams in parts. */
import type { StowageError } from "../../errors.ts";
import {
  type ByteSource,
  type PutCondition,
  type PutOptions,
  type PutResult,
  type WriteResult,
  writeResultOf,
} from "../object-store.ts";
import { holds, settleWrite, writeIdName } from "../settle-write.ts";
import type { R2Object } from "./r2-bucket.ts";
import { headR2Object } from "./r2-read.ts";
import { type R2Request, askR2, isPassing, r2Unavailable } from "./r2-request.ts";
import { uploadToR2 } from "./r2-upload.ts";

interface WriteRequest extends R2Request {
  readonly condition: PutCondition | undefined;
}

/** Writes bytes that are in memory. R2 itself verifies the checksum. */
export async function putR2Object(
  bytes: Uint8Array,
  { checksum, ...request }: WriteRequest & Pick<PutOptions, "checksum">,
): Promise<PutResult> {
  const { bucket, at, condition, signal } = request;
  const writeId = crypto.randomUUID();
  const options = {
    customMetadata: { [writeIdName]: writeId },
    ...(condition !== undefined && { onlyIf: onlyIf(condition) }),
    ...(checksum !== undefined && { sha256: checksum }),
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

export interface UploadRequest extends WriteRequest {
  /** Bytes of each part except the last. */
  readonly partBytes: number;
  /** Parts that are in memory at once. */
  readonly queueSize: number;
}

/**
 * Streams an object that is larger than a part. R2 completes an upload without a condition, so this checks the object
 * just before.
 */
export async function writeR2Object(source: ByteSource, request: UploadRequest): Promise<WriteResult> {
  const { condition, partBytes } = request;
  const writeId = crypto.randomUUID();
  const look = async () => headR2Object(request);
  const complete = async (finish: () => Promise<unknown>): Promise<WriteResult["outcome"]> => {
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
  return { outcome, parts: Math.ceil(source.size / partBytes) };
}

/** "Absent" is sent as a header: some versions of R2 took the `*` of `etagDoesNotMatch: "*"` for an ETag. */
function onlyIf(condition: PutCondition): { readonly etagMatches: string } | Headers {
  return condition === "absent" ? new Headers({ "If-None-Match": "*" }) : { etagMatches: condition.etag };
}
