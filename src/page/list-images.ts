/** The images of a repository as people count them: without signatures and the like. */
import { type Digest, isDigest } from "../digest.ts";
import type { Layout } from "../layout/layout.ts";
import { changeTimeOf, readRepository } from "../layout/read-repository.ts";
import { endOf, isReferrersTag, subjectOf, tagOf } from "../oci/index-entry.ts";
import type { Requester } from "../streams/byte-budget.ts";

export interface ListedImage {
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  readonly digest: Digest;
  /** In milliseconds since 1970. */
  readonly changed: number | undefined;
  /** When the image ends, in milliseconds since 1970. */
  readonly ends: number | undefined;
}

export interface ListedImages {
  /** The latest change first. Then by name. */
  readonly images: readonly ListedImage[];
  readonly tags: number;
  /** When the repository changed last, in milliseconds since 1970. */
  readonly changed: number | undefined;
}

/** Throws `NAME_UNKNOWN` if there is no such repository. */
export async function listImages(layout: Layout, repository: string, requester: Requester): Promise<ListedImages> {
  const { entries } = await readRepository(layout, repository, requester);
  const images: ListedImage[] = [];
  for (const entry of entries) {
    const { digest } = entry;
    const reference = tagOf(entry) ?? digest;
    if (subjectOf(entry) !== undefined || isReferrersTag(reference)) continue;
    images.push({ reference, digest, changed: changeTimeOf(entry), ends: endOf(entry) });
  }
  images.sort((a, b) => (b.changed ?? 0) - (a.changed ?? 0) || (a.reference < b.reference ? -1 : 1));
  return {
    images,
    tags: images.reduce((tags, { reference }) => tags + (isDigest(reference) ? 0 : 1), 0),
    changed: images[0]?.changed,
  };
}
