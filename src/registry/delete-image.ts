/** Deletes an image from a repository (distribution specification, "Deleting tags" and "Deleting Manifests"). */
import { type Digest, isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { type TagConditions, updateRepository, conditionFailed } from "../layout/update-repository.ts";
import type { Layout } from "../layout/layout.ts";
import { readRepository } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { RemoveDigestChange, RemoveTagChange } from "../oci/index-change.ts";
import { tagOf } from "../oci/index-entry.ts";
import { formatReference } from "../oci/reference.ts";
import { type ManifestName, type NameInIndex, findHolder, findInRepository, unknownManifest } from "./find-manifest.ts";

/**
 * Removes a tag, or a manifest with all its tags if the reference is a digest. The repository then does not serve the
 * tag or the manifest any more. The bytes stay until garbage collection: other repositories may need them. Returns the
 * digest.
 *
 * A manifest can be a part of an image that stays, such as one of its platforms. The repository still serves this
 * manifest, so that the image stays whole. Only the manifest's own tags are removed. If it has no tags, the deletion is
 * refused (`UNSUPPORTED`). Throws `NAME_UNKNOWN`, `MANIFEST_UNKNOWN`, `TAG_IMMUTABLE`, `CONDITION_FAILED`, and the
 * errors of `updateRepository`.
 */
export async function deleteImage(layout: Layout, name: ManifestName, options: TagConditions = {}): Promise<Digest> {
  const { repository, reference } = name;
  const found = { ...name, index: await readRepository(layout, repository, options) };
  const change = isDigest(reference)
    ? await removalOfDigest(layout, { ...found, reference }, options)
    : removalOfTag(found, options);
  const { immutableTags } = options;
  const [outcome] = await updateRepository(layout, { repository, changes: [change], immutableTags }, options);
  if (outcome?.previous !== undefined) return outcome.previous;
  throw unknownManifest(repository, reference); // another request was faster
}

/** A tag that is not there is an unknown manifest, not a failed condition (RFC 9110, section 13.2.1). */
function removalOfTag({ repository, reference: tag, index }: NameInIndex, { expects }: TagConditions): RemoveTagChange {
  if (index.entries.some((entry) => tagOf(entry) === tag)) return { op: "remove", tag, expects };
  throw unknownManifest(repository, tag);
}

async function removalOfDigest(
  layout: Layout,
  name: NameInIndex & { readonly reference: Digest },
  options: TagConditions,
): Promise<RemoveDigestChange> {
  const { repository, reference: digest, index } = name;
  const { expects } = options;
  if (!index.entries.some((entry) => entry.digest === digest)) {
    await findInRepository(layout, name, options);
    const holder = await findHolder(layout, digest, index, options);
    if (holder !== undefined) throw isPart(digest, holder, repository);
  }
  if (expects === undefined || (expects !== "absent" && expects.digest === digest)) return { op: "remove", digest };
  throw conditionFailed({ repository, reference: digest, found: digest, expects });
}

function isPart(digest: Digest, holder: Descriptor, repository: string): StowageError {
  const name = formatReference(repository, tagOf(holder) ?? holder.digest);
  return new StowageError(
    "UNSUPPORTED",
    `Cannot delete "${digest}" from "${repository}": it is a part of "${name}", which would not be whole without it`,
    { detail: { name: repository, reference: digest, index: holder.digest } },
  );
}

/**
 * Removes all images that a repository has now, by one commit. Returns their number. The index stays, without entries:
 * a load at the same time then loses the race and sees the change. Throws `NAME_UNKNOWN`, `TAG_IMMUTABLE`, and the
 * errors of `updateRepository`.
 */
export async function emptyRepository(
  layout: Layout,
  repository: string,
  { immutableTags, ...requester }: Omit<TagConditions, "expects"> = {},
): Promise<number> {
  const { entries } = await readRepository(layout, repository, requester);
  const digests = [...new Set(entries.map(({ digest }) => digest))];
  const changes = digests.map((digest) => ({ op: "remove", digest }) as const);
  if (changes.length > 0) await updateRepository(layout, { repository, changes, immutableTags }, requester);
  return digests.length;
}
