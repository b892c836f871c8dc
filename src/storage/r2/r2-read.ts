/** Looks at objects of R2, reads and lists them. A missing object is `undefined`. */
import { orAbort } from "../../streams/abortable.ts";
import { byteStreamToBytes } from "../../streams/readable-stream.ts";
import type { ByteRange, ListedObject, StoredObject } from "../object-store.ts";
import { checkedBody } from "../checked-body.ts";
import { type WrittenObject, writeIdName } from "../settle-write.ts";
import { type R2Request, askR2, r2Unavailable } from "./r2-request.ts";

export async function headR2Object(request: R2Request): Promise<WrittenObject | undefined> {
  const { bucket, at, key } = request;
  const found = await askR2({ ...request, operation: "head" }, () => bucket.head(at));
  if (found === null) return undefined;
  return { key, size: found.size, etag: found.etag, writeId: found.customMetadata?.[writeIdName] };
}

export async function getR2Object(request: R2Request, range?: ByteRange): Promise<StoredObject | undefined> {
  const { bucket, at, key, signal } = request;
  const part = range && { range: { offset: range.start, length: range.end - range.start + 1 } };
  const object = await askR2(request, async () => {
    const answer = await bucket.get(at, part);
    if (signal?.aborted) await answer?.body.cancel(); // nothing waits for the answer now
    return answer;
  });
  if (object === null) return undefined;
  const { size, etag, body } = object;
  const end = Math.min(range === undefined ? size : range.end + 1, size);
  return { key, size, etag, body: readBody(body, request, end - (range?.start ?? 0)) };
}

/** Lists objects, in pages of up to 1,000. The keys come without `storePrefix`. */
export async function* listR2Objects(request: R2Request, storePrefix: string): AsyncGenerator<ListedObject> {
  let cursor: string | undefined;
  do {
    const page = { prefix: request.at, ...(cursor !== undefined && { cursor }) };
    const listed = await askR2(request, () => request.bucket.list(page));
    for (const { key, size, etag, uploaded } of listed.objects) {
      yield { key: key.slice(storePrefix.length), size, etag, modifiedMs: uploaded.getTime() };
    }
    cursor = listed.truncated ? listed.cursor : undefined;
  } while (cursor !== undefined);
}

/** Closing the body frees one of the six connections that a Worker has. */
function readBody(body: ReadableStream<Uint8Array>, request: R2Request, size: number): AsyncIterable<Uint8Array> {
  const { signal } = request;
  const chunks = byteStreamToBytes(body);
  return checkedBody({
    next: () => orAbort(chunks.next(), signal),
    size,
    close: () => chunks.return(),
    fail: (error) => {
      signal?.throwIfAborted();
      throw r2Unavailable(error, request);
    },
  });
}
