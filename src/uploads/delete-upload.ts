/** Deletes an upload with all of its parts. */
import type { Layout } from "../layout/layout.ts";
import { uploadKey, uploadPrefix } from "../storage/keys.ts";
import type { CallOptions } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";

/** Objects that are deleted at the same time. */
const maxPendingDeletes = 16;

/** The parts go first: as long as the announcement is there, whoever was interrupted can delete the rest. */
export async function deleteUpload({ store }: Layout, id: string, { signal }: CallOptions = {}): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of store.list(uploadPrefix(id), { signal })) keys.push(key);
  const parts = keys.filter((key) => key !== uploadKey(id));
  await concurrently(parts, maxPendingDeletes, (key) => store.delete(key, { signal }));
  await store.delete(uploadKey(id), { signal });
}
