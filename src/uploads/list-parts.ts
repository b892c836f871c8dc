/** Which parts of an upload are there, each with all of its bytes. */
import { uploadPartKey, uploadPrefix } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { type Upload, type UploadPart, partsOf } from "./upload.ts";

export interface ListedPart extends UploadPart {
  /** False also for one that was cut short on its way: VersityGW keeps such a part. */
  readonly present: boolean;
}

export interface ListPartsOptions {
  readonly store: ObjectStore;
  readonly signal?: AbortSignal | undefined;
}

/** All parts in their order; one listing tells. */
export async function listParts(upload: Upload, { store, signal }: ListPartsOptions): Promise<readonly ListedPart[]> {
  const sizes = new Map<string, number>();
  for await (const { key, size } of store.list(uploadPrefix(upload.id), { signal })) sizes.set(key, size);
  return [...partsOf(upload)].map((part) => ({
    ...part,
    present: sizes.get(uploadPartKey(upload.id, part.number)) === part.size,
  }));
}
