/**
 * Decides whether a load can rest on what the store has under a blob's digest, or has to write the blob again.
 *
 * A size tells most damage, by the HEAD that a load makes anyway. A manifest is small and decides what an image is: its
 * bytes are read and compared by each load. All other blobs are read only by a load that is told to repair.
 */
import { looksLikeManifest } from "../oci/manifest.ts";
import { hashObject } from "../storage/hash-object.ts";
import { blobKey } from "../storage/keys.ts";
import type { ObjectInfo, ObjectStore } from "../storage/object-store.ts";

/** What names a blob. */
export interface BlobIdentity {
  /** `sha256:<64 hex>`; decides the key. */
  readonly digest: string;
  /** Length in bytes. */
  readonly size: number;
}

export interface FindDamageOptions {
  readonly store: ObjectStore;
  readonly signal: AbortSignal;
  /** Reads every blob that is present. */
  readonly repair?: boolean | undefined;
}

/** `replaces`: the ETag of a damaged object; without one there is no object. */
export type BlobState = "present" | { readonly replaces: string | undefined };

/** `found` is what a HEAD says of the blob's key. `bytes` are those of the blob, where they are in memory. */
export async function findDamage(
  { digest, size }: BlobIdentity,
  found: ObjectInfo | undefined,
  { bytes, store, signal, repair = false }: FindDamageOptions & { readonly bytes?: Uint8Array | undefined },
): Promise<BlobState> {
  if (found?.size !== size) return { replaces: found?.etag };
  if (!repair && (bytes === undefined || !looksLikeManifest(bytes))) return "present";
  const object = await store.get(blobKey(digest), { signal });
  if (object === undefined) return { replaces: undefined };
  const hashed = await hashObject(object, { signal });
  return hashed.digest === digest ? "present" : { replaces: object.etag };
}
