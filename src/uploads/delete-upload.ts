/** Deletes an upload with all of its parts. */
import { uploadKey, uploadPrefix } from "../storage/keys.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";

export interface DeleteUploadOptions {
  readonly store: ObjectStore;
  readonly signal?: AbortSignal | undefined;
}

/** Objects that are deleted at the same time. */
const maxPendingDeletes = 16;

/** The parts go first: as long as the announcement is there, whoever was interrupted can delete the rest. */
export async function deleteUpload(id: string, { store, signal }: DeleteUploadOptions): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(uploadPrefix(id), { signal })) keys.push(key);
  const parts = keys.filter((key) => key !== uploadKey(id));
  await concurrently(parts, maxPendingDeletes, (key) => store.delete(key, { signal }));
  await store.delete(uploadKey(id), { signal });
}
