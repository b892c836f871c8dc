/** What each image of a load is to be called, from the request, from the archive's annotations, or by digest alone. */
import { StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type ImageName, defaultRepository, parseReference, parseTag, tagOfReference } from "../oci/reference.ts";
import { refNameAnnotation } from "../oci/repository-index.ts";
import type { ClosedRoot } from "./check-closure.ts";
import { type CosignTag, cosignTagsOf } from "./cosign-tags.ts";

/** Engines write the whole name of an image here (containerd, Docker, BuildKit). */
export const containerdNameAnnotation = "io.containerd.image.name";

export interface NamedRoot extends ClosedRoot, ImageName {}

/**
 * Names the roots, each name once; a manifest without a name that is a part of another root is no image of its own. In this
 * order a name is: what the request says; containerd's whole name; `org.opencontainers.image.ref.name`, which may be a whole
 * reference or a tag; the default repository. What cosign has saved beside an image goes under a tag of cosign's. Throws
 * `INDEX_INVALID` if two images would have one name, and `NAME_INVALID`.
 */
export function nameRoots(roots: readonly ClosedRoot[], requested?: ImageName): NamedRoot[] {
  const images = roots.filter(isImage);
  const cosignTags = cosignTagsOf(images);
  if (requested?.tag !== undefined) {
    checkOneImage(
      images.filter(({ digest }) => !cosignTags.has(digest)),
      requested,
    );
  }
  const named = new Map<string, NamedRoot>();
  for (const root of images) {
    const { repository, tag } = nameOf(root, requested, cosignTags.get(root.digest));
    const name = `${repository}:${tag ?? root.digest}`;
    const before = named.get(name);
    if (before !== undefined && before.digest !== root.digest) {
      throw new StowageError(
        "INDEX_INVALID",
        `Cannot name two images "${name}": found ${before.digest} and ${root.digest}`,
        { detail: { name, digests: [before.digest, root.digest] } },
      );
    }
    named.set(name, { ...root, repository, tag });
  }
  return [...named.values()];
}

/** A referrer is listed wherever else it is: it could not be found by its subject otherwise. */
function isImage({ isPart, subject, annotations }: ClosedRoot): boolean {
  const isNamed = [containerdNameAnnotation, refNameAnnotation].some((name) => annotations?.[name] !== undefined);
  return isNamed || subject !== undefined || !isPart;
}

function nameOf(root: ClosedRoot, requested: ImageName | undefined, cosignTag?: CosignTag): ImageName {
  if (cosignTag !== undefined) return { repository: nameOf(cosignTag.image, requested).repository, tag: cosignTag.tag };
  if (requested === undefined) return nameInArchive(root);
  if (root.subject !== undefined) return { repository: requested.repository, tag: undefined }; // a referrer, found by its subject
  return { repository: requested.repository, tag: requested.tag ?? tagInArchive(root) };
}

/** Of a name that is not used only the tag counts: `My App:1.4` may be called `app:1.4`. */
function tagInArchive({ annotations }: Descriptor): string | undefined {
  const wholeName = annotations?.[containerdNameAnnotation];
  const refName = annotations?.[refNameAnnotation];
  if (wholeName !== undefined) return tagOfReference(wholeName);
  if (refName === undefined) return undefined;
  return isReference(refName) ? tagOfReference(refName) : parseTag(refName);
}

function nameInArchive({ annotations }: Descriptor): ImageName {
  const wholeName = annotations?.[containerdNameAnnotation];
  if (wholeName !== undefined) return parseReference(wholeName);
  const refName = annotations?.[refNameAnnotation];
  if (refName === undefined) return { repository: defaultRepository, tag: undefined };
  return isReference(refName) ? parseReference(refName) : { repository: defaultRepository, tag: parseTag(refName) };
}

/** A word is a tag, also one that is too long for a tag and would do as a repository's name. */
function isReference(refName: string): boolean {
  return /[/:@]/.test(refName);
}

function checkOneImage(roots: readonly ClosedRoot[], { repository, tag }: ImageName): void {
  const digests = new Set(roots.filter(({ subject }) => subject === undefined).map(({ digest }) => digest));
  if (digests.size === 1) return;
  const found =
    digests.size === 0
      ? "nothing but referrers, which have no tag; expected an image, or no tag"
      : `${digests.size} images, expected one`;
  const message = `Cannot name the image "${repository}:${tag}": the archive holds ${found}`;
  throw new StowageError("INDEX_INVALID", message, { detail: { digests: [...digests] } });
}
