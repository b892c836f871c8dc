/**
 * Publishes a pushed manifest (distribution specification, "Pushing Manifests"). It is checked like a root of a load:
 * strictly parsed, and everything that it names must be in the store. A subject may be missing.
 */
import { type Digest, algorithmOf, digestOf } from "../digest.ts";
import { StowageError, quote } from "../errors.ts";
import { headBlob } from "../layout/blobs.ts";
import { checkClosure } from "../layout/check-closure.ts";
import type { TagConditions } from "../layout/update-repository.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { Layout } from "../layout/layout.ts";
import { JsonMemory } from "../layout/json-memory.ts";
import { type NamedImage, changesFor, publish } from "../layout/publish.ts";
import { findBlobState, writeBlob } from "../layout/write-blob.ts";
import { parseManifest } from "../oci/manifest.ts";
import { parseDigest, parseTag } from "../oci/reference.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import { checkDigest } from "../streams/verify-bytes.ts";

export interface PushedManifest {
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** More tags for the manifest. */
  readonly tags: readonly string[];
  /** The media type that the client declares. */
  readonly mediaType: string | undefined;
  readonly bytes: Uint8Array;
}

interface PublishedManifest {
  readonly digest: Digest;
  /** The digest of the manifest's subject. */
  readonly subject: Digest | undefined;
  readonly tags: readonly string[];
}

/**
 * Checks a manifest, stores it, and publishes it under its tags. Calls `onKept` once the memory of `keepJson` is held.
 * The caller can then release its own memory for the bytes.
 *
 * Throws `DIGEST_INVALID` if the bytes have another digest than the reference, `MANIFEST_INVALID` if they have another
 * media type than the client declares, and the errors of `parseManifest`, `checkClosure` and `publish`.
 */
export async function pushManifest(
  layout: Layout,
  { repository, reference, tags: moreTags, mediaType, bytes }: PushedManifest,
  { immutableTags, expects, onKept, ...requester }: TagConditions & { readonly onKept?: (() => void) | undefined },
): Promise<PublishedManifest> {
  const claimed = reference.includes(":") ? parseDigest(reference) : undefined; // no tag has a colon
  const tags = [...new Set([...(claimed === undefined ? [parseTag(reference)] : []), ...moreTags.map(parseTag)])];
  const digest = await digestOf(bytes, claimed && algorithmOf(claimed));
  const size = bytes.length;
  if (claimed !== undefined) checkDigest({ digest: claimed, size }, digest);
  const rescuing = layout.through(new RescuingStore(layout.store, layout.clock));
  const json = new JsonMemory(rescuing, requester);
  const store = async (blob: Uint8Array, name: Digest): Promise<void> =>
    storeUnlessPresent(rescuing, blob, name, json.requester);
  try {
    await json.keep(size, { maxWaitMs: maxTurnWaitMs }); // why the wait has an end: `byte-budget.ts`
    onKept?.();
    json.drop(size); // the check counts the bytes again; the memory stays held until `json.end()`
    const found = await json.parse(size, () => parseManifest(bytes, digest, mediaType));
    if (mediaType !== undefined && mediaType !== found.mediaType) throw otherType(digest, mediaType, found.mediaType);
    const known = {
      sizeOf: (other: Digest) => (other === digest ? size : undefined),
      manifest: (other: Digest) => (other === digest ? bytes : undefined),
    };
    const descriptor = { mediaType: found.mediaType, digest, size };
    const closure = await checkClosure(rescuing, [descriptor], { json, known, storeInlined: store });
    await store(bytes, digest);
    const untagged: NamedImage = { ...descriptor, tag: undefined, expects: undefined };
    const named = tags.map((tag): NamedImage => ({
      ...untagged,
      tag,
      expects: tag === reference || claimed !== undefined ? expects : undefined,
    }));
    const changes = changesFor(named.length === 0 ? [{ ...untagged, expects }] : named, closure);
    await publish(rescuing, closure, { repository, changes, immutableTags }, json);
    return { digest, subject: found.subject?.digest, tags };
  } finally {
    json.end();
  }
}

/** Stores bytes that are in memory, unless the store has the blob. Their digest has been checked. */
async function storeUnlessPresent(
  { store }: Layout,
  bytes: Uint8Array,
  digest: Digest,
  { signal }: JsonMemory["requester"],
): Promise<void> {
  const blob = { digest, size: bytes.length };
  const target = { store, signal };
  const state = await findBlobState(blob, await headBlob(store, digest, { signal }), target, bytes);
  await writeBlob({ ...blob, body: bytes }, state, target);
}

function otherType(digest: Digest, declared: string, found: string): StowageError {
  const message = `Cannot take manifest "${digest}": it was sent as ${quote(declared)}, and its mediaType is "${found}"`;
  return new StowageError("MANIFEST_INVALID", message, { detail: { found, expected: declared } });
}
