/** The images of a repository as people count them: without signatures and the like. */
import type { Digest } from "../digest.ts";
import { isDigest } from "../digest.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import { isReferrersTag } from "../oci/index-entry.ts";

export interface ListedImage {
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  readonly digest: Digest;
  readonly changed: number | undefined;
}

export interface ListedImages {
  /** The latest change first. Then by name. */
  readonly images: readonly ListedImage[];
  readonly tags: number;
  /** When the repository changed last, in milliseconds since 1970. */
  readonly changed: number | undefined;
}

/** Throws `NAME_UNKNOWN` if there is no such repository. */
export async function listImages(layout: Layout, repository: string, turn: Turn): Promise<ListedImages> {
  const source = new LayoutSource(layout, { caller: turn.caller });
  const entries = await source.listEntries(repository, { signal: turn.signal });
  const images = entries.flatMap(({ reference, digest, subject, changed }): ListedImage[] =>
    digest === undefined || subject !== undefined || isReferrersTag(reference) ? [] : [{ reference, digest, changed }],
  );
  images.sort((a, b) => (b.changed ?? 0) - (a.changed ?? 0) || (a.reference < b.reference ? -1 : 1));
  return {
    images,
    tags: images.reduce((tags, { reference }) => tags + (isDigest(reference) ? 0 : 1), 0),
    changed: images[0]?.changed,
  };
}
