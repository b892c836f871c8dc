/** What a client is told of its upload: where to send which bytes, and what has arrived. */
import { uploadPartKey } from "../storage/keys.ts";
import { type ListPartsOptions, type ListedPart, listParts } from "./list-parts.ts";
import type { Upload, UploadPart } from "./upload.ts";

export interface DescribeUploadOptions extends ListPartsOptions {
  /** The URL under which the service itself takes a part, where the store has no addresses for it. */
  readonly servedUrlOf: (upload: Upload, part: UploadPart) => string;
}

export interface UploadDescription {
  readonly id: string;
  readonly size: number;
  readonly partBytes: number;
  readonly parts: readonly DescribedPart[];
}

export interface DescribedPart extends ListedPart {
  /** For one PUT of exactly its bytes; no token is needed, whoever knows it may send them. */
  readonly url: string;
}

/** How long a presigned URL is good for; whoever asks again gets fresh ones. */
const urlSeconds = 3600;

export async function describeUpload(upload: Upload, options: DescribeUploadOptions): Promise<UploadDescription> {
  const { id, size, partBytes } = upload;
  const parts = await listParts(upload, options);
  return {
    id,
    size,
    partBytes,
    parts: await Promise.all(
      parts.map(async ({ present, ...part }) => ({ ...part, url: await urlOf(upload, part, options), present })),
    ),
  };
}

async function urlOf(upload: Upload, part: UploadPart, { store, servedUrlOf }: DescribeUploadOptions): Promise<string> {
  if (store.presigner === undefined) return servedUrlOf(upload, part);
  return store.presigner.presignPut(uploadPartKey(upload.id, part.number), { seconds: urlSeconds, size: part.size });
}
