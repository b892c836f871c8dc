/** Reads a manifest from the store by its digest, and tells what a manifest names. */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Manifest, isManifestType, parseManifest } from "../oci/manifest.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import type { Layout, StoredManifest } from "./layout.ts";
import { readSmallBlob } from "./blobs.ts";

interface WantedManifest {
  readonly digest: Digest;
  /** The media type that a descriptor gives the manifest, if there is one. */
  readonly mediaType?: string | undefined;
}

/**
 * Reads a manifest. Requests of one caller for the same manifest share one read. Returns undefined if the store does
 * not have the blob, or if the blob is not a manifest. Throws `STORE_DAMAGED` if the bytes have another digest, and
 * `TOOMANYREQUESTS` if memory does not become free in time.
 */
export async function readManifest(
  layout: Layout,
  wanted: WantedManifest,
  { caller, signal }: Requester = {},
): Promise<StoredManifest | undefined> {
  // the caller is in the key, so that no caller waits for another caller's turn
  const key = `${wanted.digest} ${wanted.mediaType} ${caller}`;
  return layout.manifestReads.resultOf(key, async () => readOnce(layout, wanted, caller), signal);
}

/** Takes no signal: several requests may share the read, and none of them may end it. */
async function readOnce(
  { store, limits, budget }: Layout,
  { digest, mediaType }: WantedManifest,
  caller: string | undefined,
): Promise<StoredManifest | undefined> {
  const memory = budget.manifestMemory({ caller, maxWaitMs: maxTurnWaitMs });
  try {
    const bytes = await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, memory });
    return bytes && { bytes, manifest: parseManifest(bytes, digest, mediaType) };
  } catch (error) {
    if (error instanceof StowageError && notAManifest.has(error.code)) return undefined;
    throw error;
  } finally {
    memory.release();
  }
}

/** Errors of a blob that is not a manifest. */
const notAManifest: ReadonlySet<string> = new Set([
  "DIGEST_INVALID",
  "LIMIT_EXCEEDED",
  "MANIFEST_INVALID",
  "SIZE_INVALID",
  "UNSUPPORTED",
]);

/** The descriptors in a manifest. Every walk over manifests follows them. */
interface Successors {
  /** The manifests and indexes that an index names. */
  readonly manifests: readonly Descriptor[];
  /** Of a manifest: the config, then the layers. Of an index: the blobs that it names beside manifests. */
  readonly blobs: readonly Descriptor[];
  /** The manifest that this one refers to. The store may lack it. */
  readonly subject: Descriptor | undefined;
}

export function successorsOf(manifest: Manifest): Successors {
  const { subject } = manifest;
  if (manifest.kind === "manifest") return { manifests: [], blobs: manifest.blobs, subject };
  const isManifest = ({ mediaType }: Descriptor): boolean => isManifestType(mediaType);
  return {
    manifests: manifest.manifests.filter(isManifest),
    blobs: manifest.manifests.filter((descriptor) => !isManifest(descriptor)),
    subject,
  };
}
