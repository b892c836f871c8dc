/** What each image of a load is to be called, from the request, from the archive's annotations, or by digest alone. */
import { StowageError } from "../errors.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type ImageName, defaultRepository, parseReference, parseTag, tagOfReference } from "../oci/reference.ts";
import { refNameAnnotation } from "../oci/repository-index.ts";
import type { ClosedRoot } from "./check-closure.ts";
import { cosignTagsOf } from "./cosign-tags.ts";
import { type ListedManifest, homesOfReferrers } from "./referrer-homes.ts";

/** Engines write the whole name of an image here (containerd, Docker, BuildKit). */
export const containerdNameAnnotation = "io.containerd.image.name";

export interface NamedRoot extends ClosedRoot, Omit<ImageName, "digest"> {}

/**
 * Names the roots, each name once; a manifest without a name that is a part of another root is no image of its own. In this
 * order a name is: what the request says; containerd's whole name; `org.opencontainers.image.ref.name`, which may be a whole
 * reference or a tag; of a referrer its digest, in the repository of its subject; the default repository. What cosign has
 * saved beside an image goes under a tag of cosign's. Throws `INDEX_INVALID` if two images would have one name,
 * `NAME_INVALID`, and `LIMIT_EXCEEDED`.
 */
export function nameRoots(roots: readonly ClosedRoot[], requested?: ImageName): NamedRoot[] {
  const images = roots.filter(isImage);
  const cosignTags = cosignTagsOf(images);
  if (requested?.tag !== undefined) {
    const own = images.filter(({ digest }) => !cosignTags.has(digest));
    checkOneImage(own, requested);
  }
  const nameOf = requested === undefined ? nameInArchive : (root: ClosedRoot) => nameAsRequested(root, requested);
  const homes = requested === undefined ? homesIn(images) : new Map<string, never>();
  const named = new Map<string, NamedRoot>();
  const add = (root: ClosedRoot, { repository, tag }: ImageName): void => {
    const name = `${repository}:${tag ?? root.digest}`;
    const before = named.get(name);
    if (before !== undefined && before.digest !== root.digest) throw oneNameForTwo(name, [before.digest, root.digest]);
    named.set(name, { ...root, repository, tag });
  };
  for (const root of images) {
    const cosignTag = cosignTags.get(root.digest);
    const repositories = isNamelessReferrer(root) ? homes.get(root.digest) : undefined;
    if (cosignTag !== undefined) add(root, { ...nameOf(cosignTag.image), tag: cosignTag.tag });
    else if (repositories === undefined) add(root, nameOf(root));
    else for (const repository of repositories) add(root, { repository, tag: undefined });
  }
  return [...named.values()];
}

/** A referrer is listed wherever else it is: it could not be found by its subject otherwise. */
function isImage(root: ClosedRoot): boolean {
  return hasName(root) || root.subject !== undefined || !root.isPart;
}

function isNamelessReferrer(root: ClosedRoot): boolean {
  return root.subject !== undefined && !hasName(root);
}

function hasName({ annotations }: ClosedRoot): boolean {
  return [containerdNameAnnotation, refNameAnnotation].some((name) => annotations?.[name] !== undefined);
}

function homesIn(images: readonly ClosedRoot[]): ReadonlyMap<string, ReadonlySet<string>> {
  const listed = images.map((root): ListedManifest => {
    const repository = isNamelessReferrer(root) ? undefined : nameInArchive(root).repository;
    return { digest: root.digest, subject: root.subject, repository };
  });
  return homesOfReferrers(listed);
}

function oneNameForTwo(name: string, digests: readonly [string, string]): StowageError {
  const message = `Cannot name two images "${name}": found ${digests.join(" and ")}`;
  return new StowageError("INDEX_INVALID", message, { detail: { name, digests } });
}

function nameAsRequested(root: ClosedRoot, requested: ImageName): ImageName {
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
