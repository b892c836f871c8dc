/** Writes a tarball into the bucket, for platforms whose answers are too small for a tarball. */
import type { Layout } from "../layout/layout.ts";
import { getBlob } from "../layout/blobs.ts";
import { moreFor } from "../layout/store-blob.ts";
import { exportKey } from "../layout/keys.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { packArchive } from "./pack-archive.ts";
import type { ExportPlan } from "./plan-export.ts";

/**
 * Returns a URL of the tarball that is valid for `seconds`. Undefined if clients cannot reach the store. A tarball that
 * is there already is not written again. A gc, or a lifecycle rule of the bucket, deletes it by age.
 */
export async function stageExport(
  { store, budget }: Layout,
  plan: ExportPlan,
  { caller, signal, seconds }: Requester & { readonly seconds: number },
): Promise<string | undefined> {
  const { presigner } = store;
  if (presigner === undefined) return undefined;
  const { etag, size } = plan;
  const key = exportKey(etag);
  if ((await store.head(key, { signal })) === undefined) {
    const release = await budget.take(store.writeBufferBytes(size), { caller, signal });
    const body = packArchive(plan, async (_, { digest }) => (await getBlob(store, digest, { signal }))?.body);
    // If another request has written the tarball meanwhile, it has the same bytes.
    await store
      .write(key, { size, body }, { condition: "absent", signal, takeMore: moreFor({ budget, caller }) })
      .finally(release);
  }
  return presigner.presignGet(key, { seconds });
}
