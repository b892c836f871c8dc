/** Which parts of an upload are there, each with all of its bytes. */
import type { Layout } from "../layout/layout.ts";
import { uploadPrefix } from "../storage/keys.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { type Upload, type UploadPart, partsOf } from "./upload.ts";

export interface ListedPart extends UploadPart {
  /** False also for one that was cut short on its way: VersityGW keeps such a part. */
  readonly present: boolean;
}

/** All parts in their order; one listing tells. */
export async function listParts(
  { store }: Layout,
  upload: Upload,
  { signal }: CallOptions,
): Promise<readonly ListedPart[]> {
  const prefix = uploadPrefix(upload.id);
  const sizes = new Map<number, number>();
  for await (const { key, size } of store.list(prefix, { signal })) sizes.set(Number(key.slice(prefix.length)), size);
  return Array.from(partsOf(upload), ({ number, offset, size }) => ({
    number,
    offset,
    size,
    present: sizes.get(number) === size,
  }));
}
