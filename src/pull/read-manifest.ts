/** Reads a manifest from the store by its digest. */
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { type Manifest, parseManifest } from "../oci/manifest.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readSmallBlob } from "../storage/read-small-blob.ts";
import type { Memory } from "../storage/read-small-object.ts";

export interface ReadManifestOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** What its descriptor says that it is, if there is one. */
  readonly declaredType?: string | undefined;
  /** Where a large one takes its memory from. */
  readonly memory?: Memory | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface StoredManifest {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
}

/** Undefined if it is not there, or is a blob of another kind. Throws `STORE_DAMAGED` if its bytes are not those of its digest. */
export async function readManifest(
  digest: string,
  { store, limits, declaredType, memory, signal }: ReadManifestOptions,
): Promise<StoredManifest | undefined> {
  try {
    const bytes = await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, memory, signal });
    return bytes && { bytes, manifest: parseManifest(bytes, digest, declaredType) };
  } catch (error) {
    if (error instanceof StowageError && notAManifest.has(error.code)) return undefined;
    throw error;
  }
}

/** What is wrong with bytes that no load has taken for a manifest. */
const notAManifest: ReadonlySet<string> = new Set([
  "DIGEST_INVALID",
  "LIMIT_EXCEEDED",
  "MANIFEST_INVALID",
  "SIZE_INVALID",
  "UNSUPPORTED",
]);
