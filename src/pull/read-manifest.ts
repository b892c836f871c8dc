/** Reads a manifest from the store by its digest. */
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { type Manifest, parseManifest } from "../oci/manifest.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { readSmallBlob } from "../storage/read-small-blob.ts";
import type { CallerMemory, ReadSmallOptions } from "../storage/read-small-object.ts";
import { SharedReads } from "./shared-reads.ts";

export interface ReadManifestOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** What its descriptor says that it is, if there is one. */
  readonly declaredType?: string | undefined;
  /** The memory in which a large one is read. With it, requests of one caller for one manifest share its read. */
  readonly memory?: CallerMemory | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface StoredManifest {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
}

/** By store. A large manifest takes 20 ms to check, and some 20 MiB meanwhile. */
const readsOf = new WeakMap<ObjectStore, SharedReads<StoredManifest | undefined>>();

/** Undefined if it is not there, or is a blob of another kind. Throws `STORE_DAMAGED` if its bytes are not those of its digest. */
export async function readManifest(
  digest: string,
  { memory, signal, ...options }: ReadManifestOptions,
): Promise<StoredManifest | undefined> {
  if (memory === undefined) return readOnce(digest, { ...options, signal });
  const reads = readsOf.get(options.store) ?? new SharedReads();
  readsOf.set(options.store, reads);
  const key = `${digest} ${options.declaredType} ${memory.caller}`; // no caller waits for another's turn
  return reads.read(
    key,
    async () => memory.use(async (held) => readOnce(digest, { ...options, memory: held })),
    signal,
  );
}

async function readOnce(
  digest: string,
  {
    store,
    limits,
    declaredType,
    memory,
    signal,
  }: Omit<ReadManifestOptions, "memory"> & Pick<ReadSmallOptions, "memory">,
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
