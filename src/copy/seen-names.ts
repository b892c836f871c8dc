/** The names of a repository of the target, as a copy has seen them, and what they mean for the images of the copy. */
import type { Digest } from "../digest.ts";
import type { StowageError } from "../errors.ts";
import type { NamedImage } from "../layout/publish.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { ChangeOutcome } from "../oci/index-change.ts";
import { expiresAnnotation, tagOf } from "../oci/index-entry.ts";

/** Two images can share a referrer, and a signature's tag can be chosen too. */
export function distinctNames(images: readonly NamedImage[]): readonly NamedImage[] {
  return [...new Map(images.map((image) => [`${image.digest} ${image.tag}`, image])).values()];
}

/** The names of the target's repository, as the copy has seen them. */
export interface SeenNames {
  readonly tags: Map<string, Digest>;
  readonly digests: ReadonlySet<Digest>;
  /** By tag, or by digest for an image without a tag: the end of each image that has one. */
  readonly ends: ReadonlyMap<string, string>;
}

export function namesIn(entries: readonly Descriptor[]): SeenNames {
  const tags = new Map<string, Digest>();
  const ends = new Map<string, string>();
  for (const entry of entries) {
    const tag = tagOf(entry);
    if (tag !== undefined) tags.set(tag, entry.digest);
    const end = entry.annotations?.[expiresAnnotation];
    if (end !== undefined) ends.set(tag ?? entry.digest, end);
  }
  return { tags, digests: new Set(entries.map(({ digest }) => digest)), ends };
}

/**
 * Another copy of the same image may have been faster: its tag is at the wanted digest then. Notes that, and returns
 * true.
 */
export function noteSameTag(
  { code, detail }: StowageError,
  named: readonly NamedImage[],
  { tags }: SeenNames,
): boolean {
  const same = named.find(({ tag, digest }) => tag === detail?.["reference"] && digest === detail?.["found"]);
  if (code !== "CONDITION_FAILED" || same?.tag === undefined || tags.get(same.tag) === same.digest) return false;
  tags.set(same.tag, same.digest);
  return true;
}

export function outcomeOf({ tag, digest, expires }: NamedImage, { tags, digests, ends }: SeenNames): ChangeOutcome {
  const found = tag === undefined ? (digests.has(digest) ? digest : undefined) : tags.get(tag);
  if (found === undefined) return { status: "created" };
  if (found !== digest) return { status: "updated", previous: found };
  return { status: ends.get(tag ?? digest) === expires ? "unchanged" : "updated" };
}
