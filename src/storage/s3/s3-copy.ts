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
import { findOpenCopy } from "./s3-open-copy.ts";
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
  /** Copies the source only in the state that has this ETag. */
  readonly sourceEtag?: string | undefined;
  /** Asks the store to hash the object. A copy in parts gets no hash of the whole object. */
  readonly asksSha256?: boolean | undefined;
  /** Takes over the parts of an earlier copy that was killed. Only for a source that never changes. */
  readonly resumes?: boolean | undefined;
  /** Asks the store to copy only if there is no object yet. Few servers heed it. */
  readonly isNew?: boolean | undefined;
}

export interface S3Copy {
  /** 0 for a copy in one request. */
  readonly parts: number;
  /** SHA-256 of the whole object in base64, if the store said it. */
  readonly sha256?: string | undefined;
  /** The ETag of a copy in one request, if the store said it. */
  readonly etag?: string | undefined;
  readonly isResumed?: boolean | undefined;
}

/** Copies an object. Leaves no upload open after a failure. */
export async function copyS3Object(request: CopyRequest): Promise<S3Copy> {
  const { at, size, partBytes, asksSha256 = false } = request;
  if (size > partBytes) return copyInParts(request);
  const checksum = asksSha256 && ({ ChecksumAlgorithm: "SHA256" } as const);
  const command = new CopyObjectCommand({ ...at, ...sourceOf(request), ...checksum, ...conditionOf(request) });
  const { CopyObjectResult: { ChecksumSHA256: sha256, ChecksumType, ETag } = {} } =
    await clientOf(request).send(command);
  const isWhole = ChecksumType !== "COMPOSITE" && sha256?.includes("-") === false;
  return { parts: 0, sha256: isWhole ? sha256 : undefined, etag: ETag?.replaceAll('"', "") };
}

async function copyInParts(request: CopyRequest): Promise<S3Copy> {
  const { client, at, size, partBytes, resumes = false } = request;
  const signaled = clientOf(request);
  const starts = Array.from({ length: Math.ceil(size / partBytes) }, (_, i) => i * partBytes);
  const open = resumes ? await findOpenCopy(request) : undefined;
  const { UploadId } = open ?? (await signaled.send(new CreateMultipartUploadCommand(at)));
  const upload = { ...at, UploadId };
  await uploadParts<number, CompletedPart>(
    {
      async send(start, PartNumber) {
        const copied = open?.parts.get(PartNumber);
        if (copied !== undefined) return copied;
        const CopySourceRange = `bytes=${start}-${Math.min(start + partBytes, size) - 1}`;
        const part = { ...upload, ...sourceOf(request), PartNumber, CopySourceRange };
        const { CopyPartResult } = await signaled.send(new UploadPartCopyCommand(part));
        return { PartNumber, ETag: CopyPartResult?.ETag };
      },
      async complete(parts) {
        const MultipartUpload = { Parts: [...parts] };
        await signaled.send(
          new CompleteMultipartUploadCommand({ ...upload, ...conditionOf(request), MultipartUpload }),
        );
        return "written";
      },
      abort: () => client.send(new AbortMultipartUploadCommand(upload)), // without the signal, which may have fired
    },
    starts.entries(),
    maxConcurrentCopies,
  );
  return { parts: starts.length, isResumed: open !== undefined };
}

function conditionOf({ isNew = false }: CopyRequest): { IfNoneMatch?: string } {
  return isNew ? { IfNoneMatch: "*" } : {};
}

/** The source's path for a header: each segment is encoded, the slashes are not. */
function sourceOf({ source: { Bucket, Key }, sourceEtag }: CopyRequest): {
  CopySource: string;
  CopySourceIfMatch?: string;
} {
  const CopySource = [Bucket, ...Key.split("/")].map(encodeURIComponent).join("/");
  return { CopySource, ...(sourceEtag !== undefined && { CopySourceIfMatch: sourceEtag }) };
}
