/** Copies an object within S3. Its bytes do not pass through this process. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { uploadParts } from "../multipart-upload.ts";
import { type S3Location, type S3Request, clientOf } from "./s3-request.ts";

/**
 * The largest number of bytes that one request copies. S3 allows 5 GiB, but sends nothing until they are copied, and a
 * connection that is silent for two minutes is closed.
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

/**
 * Copies an object. Returns the number of parts, 0 for a copy in one request. Leaves no upload open after a failure.
 */
export async function copyS3Object(request: CopyRequest): Promise<number> {
  const { source, at, size, partBytes } = request;
  if (size > partBytes) return copyInParts(request);
  await clientOf(request).send(new CopyObjectCommand({ ...at, CopySource: pathOf(source) }));
  return 0;
}

async function copyInParts(request: CopyRequest): Promise<number> {
  const { client, source, at, size, partBytes } = request;
  const signaled = clientOf(request);
  const { UploadId } = await signaled.send(new CreateMultipartUploadCommand(at));
  const upload = { ...at, UploadId };
  const starts = Array.from({ length: Math.ceil(size / partBytes) }, (_, i) => i * partBytes);
  await uploadParts<number, CompletedPart>(
    {
      async send(start, PartNumber) {
        const CopySourceRange = `bytes=${start}-${Math.min(start + partBytes, size) - 1}`;
        const part = { ...upload, PartNumber, CopySource: pathOf(source), CopySourceRange };
        const { CopyPartResult } = await signaled.send(new UploadPartCopyCommand(part));
        return { PartNumber, ETag: CopyPartResult?.ETag };
      },
      async complete(parts) {
        const MultipartUpload = { Parts: [...parts] };
        await signaled.send(new CompleteMultipartUploadCommand({ ...upload, MultipartUpload }));
        return "written";
      },
      abort: () => client.send(new AbortMultipartUploadCommand(upload)), // without the signal, which may have fired
    },
    starts.entries(),
    maxConcurrentCopies,
  );
  return starts.length;
}

/** The object's path for a header: each segment is encoded, the slashes are not. */
function pathOf({ Bucket, Key }: S3Location): string {
  return [Bucket, ...Key.split("/")].map(encodeURIComponent).join("/");
}
