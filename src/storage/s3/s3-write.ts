/** Writes objects to S3: bytes in memory in one request, streams in parts. */
import { Buffer } from "node:buffer";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { Digest } from "../../digest.ts";
import {
  type ByteSource,
  type PutCondition,
  type PutResult,
  type WriteResult,
  writeResultOf,
} from "../object-store.ts";
import { type WrittenObject, settleWrite, writeIdName } from "../settle-write.ts";
import { uploadStream } from "../multipart-upload.ts";
import type { PartMemory } from "../part-memory.ts";
import { WrittenBody } from "../written-body.ts";
import {
  isAbsent,
  isLostRace,
  isUndecided,
  isUploadGone,
  storeUnavailable,
  throwFailure,
  wasRetried,
} from "./s3-errors.ts";
import { headS3Object, infoOf } from "./s3-read.ts";
import { type S3Request, clientOf, sha256In } from "./s3-request.ts";

interface WriteRequest extends S3Request {
  readonly condition: PutCondition | undefined;
}

export interface PutRequest extends WriteRequest {
  /** With a SHA-256, the store verifies the bytes, and the SDK does not hash them again. */
  readonly digest: Digest | undefined;
}

/** Writes bytes that are in memory. */
export async function putS3Object(bytes: Uint8Array, { digest, ...request }: PutRequest): Promise<PutResult> {
  const { call, condition } = request;
  const writeId = crypto.randomUUID();
  try {
    const target = targetOf(request, writeId);
    const command = new PutObjectCommand({ ...target, Body: bytes, ...checksumHeaders(digest) });
    const { ETag } = await clientOf(request).send(command);
    return { etag: infoOf({ key: call.key, size: bytes.length, etag: ETag }, call).etag };
  } catch (error) {
    return settle(error, { ...request, condition, writeId });
  }
}

export interface UploadRequest extends WriteRequest {
  readonly partBytes: number;
  readonly memory: PartMemory;
}

/**
 * Streams an object. S3 checks the condition when the last part has come.
 *
 * The signal ends the source. It also ends the request that makes the object of the parts, whose answer may take
 * minutes. A part that is being sent is not ended, but waited for: S3 may keep a part that comes after the upload was
 * aborted.
 */
export async function writeS3Object(
  source: ByteSource,
  { partBytes, memory, ...request }: UploadRequest,
): Promise<WriteResult> {
  const { call, signal, client } = request;
  const { size } = source;
  const writeId = crypto.randomUUID();
  const body = new WrittenBody(call.key, source, signal);
  const target = targetOf(request, writeId);
  try {
    return await uploadStream<CompletedPart>(body.chunks, memory, {
      isLarge: size !== undefined && size > partBytes,
      put: async (bytes) => writeResultOf(await putS3Object(bytes, { ...request, digest: undefined })),
      async open() {
        const { at } = request;
        const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
        return {
          async send(Body, PartNumber) {
            const { ETag } = await client.send(new UploadPartCommand({ ...at, UploadId, Body, PartNumber }));
            return { PartNumber, ETag };
          },
          async complete(parts) {
            const command = {
              ...at,
              UploadId,
              MultipartUpload: { Parts: [...parts] },
              ...conditionHeaders(request.condition),
            };
            try {
              await clientOf(request).send(new CompleteMultipartUploadCommand(command));
              return "written";
            } catch (error) {
              return writeResultOf(await settle(error, { ...request, writeId })).outcome;
            }
          },
          abort: () => client.send(new AbortMultipartUploadCommand({ ...at, UploadId })),
        };
      },
    });
  } catch (error) {
    body.throwIfFailed();
    return throwFailure(error, request);
  }
}

function targetOf({ at, condition }: WriteRequest, writeId: string): PutObjectCommandInput {
  return { ...at, Metadata: { [writeIdName]: writeId }, ...conditionHeaders(condition) };
}

/** ETags are sent without quotes: Ceph 16 requires that, and all other servers accept it. */
function conditionHeaders(condition: PutCondition | undefined): { IfNoneMatch?: string; IfMatch?: string } {
  if (condition === undefined) return {};
  return condition === "absent" ? { IfNoneMatch: "*" } : { IfMatch: condition.etag };
}

function checksumHeaders(digest: Digest | undefined): Partial<PutObjectCommandInput> {
  const hex = sha256In(digest);
  if (hex === undefined) return {};
  return { ChecksumAlgorithm: "SHA256", ChecksumSHA256: Buffer.from(hex, "hex").toString("base64") };
}

/**
 * Finds the result of a write that failed: by the error, or by a look at the object. Throws if S3 surely did not write,
 * or if a write without a condition cannot be decided.
 */
async function settle(
  error: unknown,
  { condition, writeId, ...request }: WriteRequest & { readonly writeId: string },
): Promise<PutResult> {
  const { call, signal, once } = request;
  signal?.throwIfAborted();
  const failure = storeUnavailable(error, call);
  const isLost = condition !== undefined && (isLostRace(error) || isAbsent(error));
  if (!isLost && !isUndecided(error) && !isUploadGone(error)) throw failure;
  if (isLost && !wasRetried(error)) return "conflict";
  const look = async (): Promise<WrittenObject | undefined> => headS3Object({ ...request, once: false });
  return settleWrite({ writeId, condition, isLost, failure, look, once, signal });
}
