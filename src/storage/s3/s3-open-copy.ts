/** Finds the upload of a copy that was killed, so that the next copy sends only the missing parts. */
import { type CompletedPart, ListMultipartUploadsCommand, ListPartsCommand, type S3Client } from "@aws-sdk/client-s3";
import { type S3Location, type S3Request, clientOf } from "./s3-request.ts";

/** Open uploads of one key that are looked at. */
const maxListedUploads = 10;

interface WantedCopy extends Omit<S3Request, "call"> {
  /** Length of the object in bytes. */
  readonly size: number;
  readonly partBytes: number;
}

export interface OpenCopy {
  readonly UploadId: string;
  /** The copied parts by their numbers, which begin at 1. */
  readonly parts: ReadonlyMap<number, CompletedPart>;
}

/**
 * Returns an open upload whose parts are those of this copy, by their numbers and sizes. An upload without parts may
 * belong to a writer that has just begun. Undefined if there is none, or if the store cannot list uploads.
 */
export async function findOpenCopy(request: WantedCopy): Promise<OpenCopy | undefined> {
  const { at, signal } = request;
  const client = clientOf(request);
  try {
    const listed = { Bucket: at.Bucket, Prefix: at.Key, MaxUploads: maxListedUploads };
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand(listed));
    for (const { Key, UploadId } of Uploads.slice(0, maxListedUploads)) {
      if (Key !== at.Key || UploadId === undefined) continue;
      const parts = await listParts(client, { ...at, UploadId }, request);
      if (parts !== undefined && parts.size > 0) return { UploadId, parts };
    }
  } catch {
    signal?.throwIfAborted();
  }
  return undefined;
}

/** Undefined if a part is none of this copy. */
async function listParts(
  client: S3Client,
  upload: S3Location & { readonly UploadId: string },
  { size, partBytes }: WantedCopy,
): Promise<ReadonlyMap<number, CompletedPart> | undefined> {
  const parts = new Map<number, CompletedPart>();
  let marker: string | undefined;
  do {
    const page = { ...upload, ...(marker !== undefined && { PartNumberMarker: marker }) };
    const { Parts = [], IsTruncated = false, NextPartNumberMarker } = await client.send(new ListPartsCommand(page));
    for (const { PartNumber = 0, Size, ETag } of Parts) {
      const start = (PartNumber - 1) * partBytes;
      const isExpected = start >= 0 && start < size && Size === Math.min(partBytes, size - start);
      if (!isExpected || parts.has(PartNumber)) return undefined;
      parts.set(PartNumber, { PartNumber, ETag });
    }
    marker = IsTruncated && Parts.length > 0 ? NextPartNumberMarker : undefined;
  } while (marker !== undefined);
  return parts;
}
