/** Copies an object within S3: no byte of it passes through this process. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { concurrently } from "../../streams/concurrently.ts";
import { type S3Location, type S3Request, clientOf } from "./s3-request.ts";

/**
 * Bytes that one request copies at most. S3 takes 5 GiB, but says nothing until they are copied, and a connection that is
 * silent for two minutes is given up.
 */
export const maxCopyBytes = 1024 * 1024 * 1024;
/** Parts of one object that are copied at once. */
const maxConcurrentCopies = 4;

export interface CopyRequest extends Omit<S3Request, "call"> {
  readonly source: S3Location;
  /** Length in bytes. */
  readonly size: number;
  /** A larger object is copied in parts of this size. */
  readonly partBytes: number;
}

/** Returns in how many parts the object was copied, 0 if it was copied as one. Leaves no upload open if it fails. */
export async function copyS3Object(request: CopyRequest): Promise<number> {
  const { source, at, size, partBytes } = request;
  if (size > partBytes) return copyInParts(request);
  await clientOf(request).send(new CopyObjectCommand({ ...at, CopySource: pathOf(source) }));
  return 0;
}

async function copyInParts(request: CopyRequest): Promise<number> {
  const { client, at } = request;
  const { UploadId } = await clientOf(request).send(new CreateMultipartUploadCommand(at));
  const upload = { ...at, UploadId };
  try {
    const Parts = await copyParts(upload, request);
    await clientOf(request).send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
    return Parts.length;
  } catch (error) {
    // Without the signal: it may be why the copying ended. That failure says more than one of the abort.
    await client.send(new AbortMultipartUploadCommand(upload)).catch(() => undefined);
    throw error;
  }
}

async function copyParts(
  upload: S3Location & { readonly UploadId: string | undefined },
  { source, size, partBytes, ...request }: CopyRequest,
): Promise<CompletedPart[]> {
  const parts: CompletedPart[] = [];
  const starts = Array.from({ length: Math.ceil(size / partBytes) }, (_, i) => i * partBytes);
  await concurrently(starts.entries(), maxConcurrentCopies, async ([i, start]) => {
    const end = Math.min(start + partBytes, size) - 1;
    const command = new UploadPartCopyCommand({
      ...upload,
      PartNumber: i + 1,
      CopySource: pathOf(source),
      CopySourceRange: `bytes=${start}-${end}`,
    });
    const { CopyPartResult } = await clientOf(request).send(command);
    parts[i] = { PartNumber: i + 1, ETag: CopyPartResult?.ETag };
  });
  return parts;
}

/** As S3 wants it in a header: each segment encoded, the slashes not. */
function pathOf({ Bucket, Key }: S3Location): string {
  return [Bucket, ...Key.split("/")].map(encodeURIComponent).join("/");
}
