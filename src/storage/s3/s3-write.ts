/** Writes objects to S3: bytes in memory in one request, streams through lib-storage. */
import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import {
  CompleteMultipartUploadCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import type { Digest } from "../../digest.ts";
import {
  type ByteSource,
  type PutCondition,
  type PutResult,
  type WriteResult,
  writeResultOf,
} from "../object-store.ts";
import { type WrittenObject, settleWrite, writeIdName } from "../settle-write.ts";
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
  /** The store verifies a SHA-256, and the SDK does not hash the bytes again. */
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
  /** Parts that are sent at the same time. */
  readonly queueSize: number;
}

/**
 * Streams an object. S3 checks the condition when the last part has come.
 *
 * If the source throws, lib-storage waits for the parts that are being sent and aborts the upload. Its own `abort()`
 * does neither, so here the signal ends the source, and the last request, whose answer may take minutes. If the source
 * ends early without an error, lib-storage would complete the upload. So `WrittenBody` throws.
 */
export async function writeS3Object(
  source: ByteSource,
  { partBytes, queueSize, ...request }: UploadRequest,
): Promise<WriteResult> {
  const { call, signal } = request;
  const { size } = source;
  const writeId = crypto.randomUUID();
  const body = new WrittenBody(call.key, source, signal);
  const params = { ...targetOf(request, writeId), Body: Readable.from(body.chunks), ContentLength: size };
  const countParts = (): number => (body.chunks.bytes > partBytes ? Math.ceil(body.chunks.bytes / partBytes) : 0);
  try {
    await new Upload({ client: endingLastWith(request), params, partSize: partBytes, queueSize }).done();
    return { outcome: "written", parts: countParts() };
  } catch (error) {
    body.throwIfFailed();
    if (!body.hasEnded) throwFailure(error, request);
    return writeResultOf(await settle(error, { ...request, writeId }), countParts());
  }
}

/** The client for lib-storage. The signal ends only the request that makes the object. */
function endingLastWith(request: S3Request): S3Client {
  const { client } = request;
  const send = async (command: Parameters<S3Client["send"]>[0]): Promise<unknown> => {
    const isLast = command instanceof CompleteMultipartUploadCommand || command instanceof PutObjectCommand;
    return (isLast ? clientOf(request) : client).send(command);
  };
  return Object.create(client, { send: { value: send } }) as S3Client;
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
 * Decides by the answer, or by a look at the object if the answer is not enough. Throws if the write was surely not
 * done.
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
