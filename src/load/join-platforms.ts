/**
 * Joins the platforms of one image. Some archives list the platforms one by one, without an index for the image: all
 * under one name, or all without a name if the request has a name. If the archive lists nothing else, its `index.json`
 * becomes the index of the image, as with `crane push --index`. Otherwise a new index is made of the platforms.
 */
import { digestOf } from "../digest.ts";
import type { CheckedRoot } from "../layout/check-closure.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { ociIndexType, serializeIndex } from "../oci/manifest.ts";
import { formatName } from "../oci/reference.ts";
import { nameAnnotationsOf, nameTextOf } from "./archive-name.ts";
import type { RunningLoad } from "./running-load.ts";
import { claimsIn, isOneImage } from "./name-roots.ts";

/** The archive's own index, which lists these roots and perhaps others. */
export interface ArchiveIndex {
  readonly bytes: Uint8Array;
  /** How many descriptors it lists. */
  readonly count: number;
}

/**
 * Stores an index for each group of platforms. Returns the roots, each group replaced by its index. Returns undefined
 * if there is nothing to join. Throws the errors of `claimsIn`.
 */
export async function joinPlatforms(
  load: RunningLoad,
  roots: readonly CheckedRoot[],
  index: ArchiveIndex,
): Promise<readonly Descriptor[] | undefined> {
  const { name: requested } = load;
  const joined = new Set<CheckedRoot>();
  const indexes: Descriptor[] = [];
  for (const [name, claimants] of claimsIn(roots, requested)) {
    const hasTag = isOneImage(requested) ? name === formatName(requested) : name.includes(":");
    const members = [...new Map(claimants.map((root) => [root.digest, root])).values()];
    if (!hasTag || !arePlatforms(members, index)) continue;
    const bytes = members.length === index.count ? index.bytes : serializeIndex(members);
    const digest = await digestOf(bytes);
    await load.storeExtraBlob(bytes, digest);
    const annotations = nameAnnotationsOf(members[0] ?? {});
    indexes.push({ mediaType: ociIndexType, digest, size: bytes.length, annotations });
    for (const root of claimants) joined.add(root);
  }
  return indexes.length === 0 ? undefined : [...roots.filter((root) => !joined.has(root)), ...indexes];
}

/** Are these manifests the platforms of one image? No manifest may be a part of another root. */
function arePlatforms(members: readonly CheckedRoot[], index: ArchiveIndex): boolean {
  const [first] = members;
  if (first === undefined || members.length < 2) return false;
  const name = nameTextOf(first);
  const isMember = ({ platform, isPart, subject }: CheckedRoot): boolean =>
    platform !== undefined && !isPart && subject === undefined;
  if (!members.every((root) => isMember(root) && nameTextOf(root) === name)) return false;
  if (name === undefined) return members.length === index.count;
  return new Set(members.map(({ platform = {} }) => platformKey(platform))).size === members.length;
}

/** A text that differs for different platforms (image specification, "Image Index"). */
function platformKey(platform: NonNullable<Descriptor["platform"]>): string {
  return JSON.stringify(
    ["os", "architecture", "variant", "os.version", "os.features"].map((field) => platform[field] ?? ""),
  );
}
