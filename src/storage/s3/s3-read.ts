/** Looks at objects of S3, reads and lists them. A missing object is `undefined`. */
import { GetObjectCommand, HeadObjectCommand, paginateListObjectsV2 } from "@aws-sdk/client-s3";
import { handOverChunk } from "../../streams/chunk-memory.ts";
import { byteStreamToBytes } from "../../streams/readable-stream.ts";
import type { GetOptions, ListedObject, ObjectInfo, StoredObject } from "../object-store.ts";
import { checkedBody } from "../checked-body.ts";
import { type WrittenObject, writeIdName } from "../settle-write.ts";
import { sizeReads } from "./large-reads.ts";
import { isAbsent, storeUnavailable, throwFailure } from "./s3-errors.ts";
import { type S3Call, type S3Request, clientOf } from "./s3-request.ts";

export async function headS3Object(request: S3Request): Promise<WrittenObject | undefined> {
  const { at, call } = request;
  try {
    const { ContentLength, ETag, Metadata } = await clientOf(request).send(new HeadObjectCommand(at));
    const info = infoOf({ key: call.key, size: ContentLength, etag: ETag }, call);
    return { ...info, writeId: Metadata?.[writeIdName] };
  } catch (error) {
    return isAbsent(error) ? undefined : throwFailure(error, request);
  }
}

export async function getS3Object(
  request: S3Request,
  { range, chunkBytes }: Pick<GetOptions, "range" | "chunkBytes"> = {},
): Promise<StoredObject | undefined> {
  const { at, call } = request;
  try {
    const command = new GetObjectCommand({ ...at, ...(range && { Range: `bytes=${range.start}-${range.end}` }) });
    const { Body, ContentLength, ContentRange, ETag } = await clientOf(request).send(command);
    try {
      sizeReads(Body ?? {}, chunkBytes);
      const sent = infoOf({ key: call.key, size: ContentLength, etag: ETag }, call);
      const whole = range === undefined ? sent : infoOf({ ...sent, size: sizeOfRanged(ContentRange) }, call);
      return { ...whole, body: readBody(Body, request, sent.size) };
    } catch (error) {
      await discardBody(Body);
      throw error;
    }
  } catch (error) {
    return isAbsent(error) ? undefined : throwFailure(error, request);
  }
}

/** Lists objects, in pages of 1,000. The keys come without `storePrefix`. */
export async function* listS3Objects(request: S3Request, storePrefix: string): AsyncGenerator<ListedObject> {
  const { at, call } = request;
  const input = { Bucket: at.Bucket, Prefix: at.Key };
  try {
    for await (const { Contents = [] } of paginateListObjectsV2({ client: clientOf(request) }, input)) {
      for (const { Key = "", Size, ETag, LastModified } of Contents) {
        const info = infoOf({ key: Key.slice(storePrefix.length), size: Size, etag: ETag }, call);
        if (LastModified === undefined) throw storeUnavailable(new Error("Found no LastModified in its answer"), call);
        yield { ...info, modifiedMs: LastModified.getTime() };
      }
    }
  } catch (error) {
    throwFailure(error, request);
  }
}

/** The facts about an object. Throws if the store's answer lacks one. */
export function infoOf(
  said: { key: string; size: number | undefined; etag: string | undefined },
  call: S3Call,
): ObjectInfo {
  const { key, size, etag } = said;
  if (size === undefined || etag === undefined) {
    throw storeUnavailable(new Error(`Found size ${size} and ETag ${etag} in its answer, expected both`), call);
  }
  return { key, size, etag: etag.replace(/^"|"$/g, "") };
}

/** The size of the whole object, from `Content-Range: bytes 0-9/100`. */
function sizeOfRanged(contentRange: string | undefined): number | undefined {
  const size = /\/(\d+)$/.exec(contentRange ?? "")?.[1];
  return size === undefined ? undefined : Number(size);
}

/** Reads the SDK's body: a stream of Node, or a web stream if the SDK uses `fetch`. */
function readBody(body: unknown, request: S3Request, size: number): AsyncIterable<Uint8Array> {
  const { call, signal } = request;
  if (!isByteStream(body)) throw storeUnavailable(new TypeError("The SDK returned no stream"), call);
  const isWeb = body instanceof ReadableStream;
  const chunks = isWeb ? byteStreamToBytes(body) : body[Symbol.asyncIterator]();
  return checkedBody({
    next: async () => {
      signal?.throwIfAborted();
      const next = await chunks.next();
      if (next.done !== true && !isWeb) handOverChunk(next.value);
      return next;
    },
    size,
    close: async () => {
      body.destroy?.(); // its iterator alone does not close an unread stream
      await chunks.return?.();
    },
    fail: (error) => throwFailure(error, request),
  });
}

/** Closes a body that will not be read, and its connection. */
async function discardBody(body: unknown): Promise<void> {
  if (!isByteStream(body)) return;
  body.destroy?.();
  await body[Symbol.asyncIterator]().return?.();
}

interface ByteStream extends AsyncIterable<Uint8Array, undefined> {
  destroy?(): void;
}

function isByteStream(body: unknown): body is ByteStream {
  return typeof body === "object" && body !== null && Symbol.asyncIterator in body;
}
