/** Copies an object within S3: no byte of it passes through this process. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  type CompletedPart,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { concurrently } from "../../streams/concurrently.ts";
import { withSignal } from "./s3-signal.ts";

/**
 * Bytes that one request copies at most. S3 takes 5 GiB, but says nothing until they are copied, and a connection that is
 * silent for two minutes is given up.
 */
export const maxCopyBytes = 1024 * 1024 * 1024;
/** Parts of one object that are copied at once. */
const maxConcurrentCopies = 4;

export interface S3Object {
  readonly Bucket: string;
  readonly Key: string;
}

export interface CopyOptions {
  readonly client: S3Client;
  readonly source: S3Object;
  readonly target: S3Object;
  /** Length in bytes. */
  readonly size: number;
  /** A larger object is copied in parts of so many bytes. */
  readonly partBytes: number;
  readonly signal: AbortSignal | undefined;
}

/** Returns in how many parts the object was copied, 0 where it was copied as one. Leaves no upload open if it fails. */
export async function copyS3Object(options: CopyOptions): Promise<number> {
  const { client, source, target, size, partBytes, signal } = options;
  if (size > partBytes) return copyInParts(options);
  await withSignal(client, signal).send(new CopyObjectCommand({ ...target, CopySource: pathOf(source) }));
  return 0;
}

async function copyInParts(options: CopyOptions): Promise<number> {
  const { client, target, signal } = options;
  const { UploadId } = await withSignal(client, signal).send(new CreateMultipartUploadCommand(target));
  const upload = { ...target, UploadId };
  try {
    const Parts = await copyParts(upload, options);
    await withSignal(client, signal).send(
      new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }),
    );
    return Parts.length;
  } catch (error) {
    // Without the signal: it may be why the copying ended. Why it ended says more than why it could not be tidied up.
    await client.send(new AbortMultipartUploadCommand(upload)).catch(() => undefined);
    throw error;
  }
}

async function copyParts(
  upload: S3Object & { readonly UploadId: string | undefined },
  { client, source, size, partBytes, signal }: CopyOptions,
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
    const { CopyPartResult } = await withSignal(client, signal).send(command);
    parts[i] = { PartNumber: i + 1, ETag: CopyPartResult?.ETag };
  });
  return parts;
}

/** As S3 wants it in a header: each segment encoded, the slashes not. */
function pathOf({ Bucket, Key }: S3Object): string {
  return [Bucket, ...Key.split("/")].map(encodeURIComponent).join("/");
}
