/**
 * Gives an image of a service, or of any registry, more names there. Another repository mounts the blobs of the image.
 */
import { StowageError } from "../errors.ts";
import { type TagConditions, conditionFailed } from "../layout/update-repository.ts";
import { listClosure } from "../layout/list-closure.ts";
import { formatReference } from "../oci/reference.ts";
import type { ManifestName } from "../registry/find-manifest.ts";
import type { NewName, TaggedImage } from "../registry/tag-image.ts";
import type { SourceManifest } from "../remote/image-source.ts";
import type { WritableRegistry } from "./open-registry.ts";

export interface TagChoices extends Pick<TagConditions, "expects"> {
  /** Another repository gets the referrers of the image too. */
  readonly referrers: boolean;
  readonly signal: AbortSignal;
}

/** Throws `MANIFEST_UNKNOWN` if there is no such image, `CONDITION_FAILED`, and the errors of the registry. */
export async function* tagInRegistry(
  registry: WritableRegistry,
  image: ManifestName,
  names: readonly NewName[],
  choices: TagChoices,
): AsyncGenerator<TaggedImage> {
  const { source, writer } = registry;
  const { expects, signal } = choices;
  const manifest = await readManifest(registry, image, signal);
  const { digest } = manifest;
  const ready = new Set([image.repository]);
  for (const { repository, tag } of names) {
    const previous = (await source.headManifest(repository, tag, { signal }))?.digest;
    if (expects !== undefined && previous !== (expects === "absent" ? undefined : expects.digest)) {
      throw conditionFailed({ repository, reference: tag, found: previous, expects });
    }
    if (!ready.has(repository)) await bringAlong(registry, { image, manifest }, repository, choices);
    ready.add(repository);
    await writer.putManifest(repository, tag, manifest, { expects, signal });
    const status = previous === undefined ? "created" : previous === digest ? "unchanged" : "updated";
    yield { repository, tag, digest, status, ...(status === "updated" && { previous }) };
  }
}

async function readManifest(
  { source }: WritableRegistry,
  { repository, reference }: ManifestName,
  signal: AbortSignal,
): Promise<SourceManifest> {
  const found = await source.readManifest(repository, reference, { signal });
  if (found !== undefined) return found;
  const message = `Cannot find "${formatReference(repository, reference)}" in ${source.name}`;
  throw new StowageError("MANIFEST_UNKNOWN", message, { detail: { name: repository, reference } });
}

interface OpenImage {
  readonly image: ManifestName;
  readonly manifest: SourceManifest;
}

/** Brings all that the image names into another repository, and its referrers. Children come before their parents. */
async function bringAlong(
  registry: WritableRegistry,
  { image, manifest: root }: OpenImage,
  repository: string,
  { referrers, signal }: TagChoices,
): Promise<void> {
  const { source, writer } = registry;
  const from = image.repository;
  const place = { source, repository: from };
  const closure = await listClosure(place, [root], { referrers, signal });
  const mounted = new Set<string>();
  for (const { digest, blobs } of closure.manifests.values()) {
    for (const blob of blobs) {
      if (mounted.has(blob.digest)) continue;
      mounted.add(blob.digest);
      await writer.mountBlob(repository, { digest: blob.digest, from }, { signal });
    }
    if (digest === root.digest) continue; // it comes under its new name
    const manifest = await readManifest(registry, { repository: from, reference: digest }, signal);
    const tags = closure.referrers.flatMap((it) => (it.digest === digest && it.tag !== undefined ? it.tag : []));
    for (const reference of tags.length === 0 ? [digest] : tags) {
      await writer.putManifest(repository, reference, manifest, { signal });
    }
  }
}
