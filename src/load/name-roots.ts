/** Names the images of a load: by the request, by the archive's annotations, or by digest alone. */
import type { Digest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import type { CheckedRoot } from "../layout/check-closure.ts";
import { maxPlaces } from "../limits.ts";
import { type ImageName, formatName } from "../oci/reference.ts";
import { type ArchiveName, nameInArchive, nameTextOf, tagInArchive } from "./archive-name.ts";
import { cosignImagesIn, cosignTagOf, isCosignExtra } from "./cosign-tags.ts";

export interface NamedRoot extends CheckedRoot, Omit<ArchiveName, "digest"> {}

/**
 * Names the roots. A root gets the first of these names that exists. Roots with the same name and digest become one:
 *
 * 1. the name in the request;
 * 2. containerd's whole name;
 * 3. `org.opencontainers.image.ref.name`, a whole reference or a tag;
 * 4. for a referrer: its digest, in the repositories of its subject;
 * 5. its digest, in the default repository.
 *
 * A manifest without a name that is a part of another root is not an image of its own. If an image and its referrer or
 * signature have the same name, the image gets the tag. A signature that cosign saved beside an image gets cosign's
 * tag. Throws `INDEX_INVALID` if two images would have one name, `DIGEST_INVALID` if the request wants another digest,
 * `NAME_INVALID`, and `LIMIT_EXCEEDED`.
 */
export function nameRoots(roots: readonly CheckedRoot[], requested?: ImageName): NamedRoot[] {
  const images = roots.filter(isImage);
  const claims = claimsIn(images, requested);
  if (isOneImage(requested)) checkOneImage(claims.get(formatName(requested)) ?? [], requested);
  const claimants = new Set([...claims.values()].flat());
  const cosignImages = cosignImagesIn(images);
  const homes = requested === undefined ? homesIn(images) : new Map<Digest, never>();
  const named = new Map<string, NamedRoot>();
  const add = (root: CheckedRoot, { repository, tag, unusableTag }: ArchiveName): void => {
    const name = `${repository}:${tag ?? root.digest}`;
    const before = named.get(name);
    if (before !== undefined && before.digest !== root.digest) throw oneNameForTwo(name, [before.digest, root.digest]);
    named.set(name, { ...root, repository, tag, unusableTag });
  };
  for (const root of images) {
    const name = nameOf(root, requested);
    const cosignTag = isCosignExtra(root) ? cosignTagOf(root, cosignImages) : undefined;
    const repositories = isNamelessReferrer(root) ? homes.get(root.digest) : undefined;
    if (cosignTag !== undefined) {
      add(root, { repository: nameOf(cosignTag.image, requested).repository, tag: cosignTag.tag });
    } else if (repositories !== undefined)
      for (const repository of repositories) add(root, { repository, tag: undefined });
    else add(root, claimants.has(root) ? name : { repository: name.repository, tag: undefined });
  }
  return [...named.values()];
}

/**
 * Returns, for each name, the roots that claim its tag. The key is the name as `formatName` writes it. A signature of
 * cosign's never claims a tag. A referrer claims a tag only if no image and no other referrer has the name.
 */
export function claimsIn(images: readonly CheckedRoot[], requested?: ImageName): ReadonlyMap<string, CheckedRoot[]> {
  const byName = new Map<string, CheckedRoot[]>();
  for (const root of images.filter((image) => isImage(image) && !isCosignExtra(image))) {
    const key = keyOf(nameOf(root, requested), requested);
    const roots = byName.get(key) ?? [];
    byName.set(key, roots);
    roots.push(root);
  }
  return new Map([...byName].map(([key, roots]) => [key, claimantsAmong(roots)]));
}

function claimantsAmong(roots: readonly CheckedRoot[]): CheckedRoot[] {
  const plain = roots.filter(({ subject }) => subject === undefined);
  if (plain.length > 0) return plain;
  const digests = new Set(roots.map(({ digest }) => digest));
  // A root that refers to another of these roots claims nothing.
  const outermost = roots.filter(({ subject }) => subject === undefined || !digests.has(subject));
  return new Set(outermost.map(({ digest }) => digest)).size === 1 ? outermost : [];
}

/** Does the request name one image? A repository alone can take many images. */
export function isOneImage(requested: ImageName | undefined): requested is ImageName {
  return requested?.tag !== undefined || requested?.digest !== undefined;
}

/** A referrer is an image of its own, even if it is a part of another root: clients find it only by its own entry. */
function isImage(root: CheckedRoot): boolean {
  return hasName(root) || root.subject !== undefined || !root.isPart;
}

function isNamelessReferrer(root: CheckedRoot): boolean {
  return root.subject !== undefined && !hasName(root);
}

function hasName(root: CheckedRoot): boolean {
  return nameTextOf(root) !== undefined;
}

function homesIn(images: readonly CheckedRoot[]): ReadonlyMap<Digest, ReadonlySet<string>> {
  const listed = images.map((root): PlacedRoot => {
    const repository = isNamelessReferrer(root) ? undefined : nameInArchive(root).repository;
    return { digest: root.digest, subject: root.subject, repository };
  });
  return homesOfReferrers(listed);
}

function nameOf(root: CheckedRoot, requested: ImageName | undefined): ArchiveName {
  if (requested === undefined) return nameInArchive(root);
  const { repository, tag } = requested;
  return isOneImage(requested) ? { repository, tag } : { repository, ...tagInArchive(root) };
}

/** The key of a name without a tag is the repository, unless the request is for one image. */
function keyOf({ repository, tag }: ArchiveName, requested: ImageName | undefined): string {
  return formatName(isOneImage(requested) ? requested : { repository, tag });
}

function oneNameForTwo(name: string, digests: readonly [Digest, Digest]): StowageError {
  const message =
    `Cannot name two images "${name}": found ${digests.join(" and ")}; expected one, or several that index.json lists with ` +
    "a platform each";
  return new StowageError("INDEX_INVALID", message, { detail: { name, digests } });
}

function checkOneImage(claimants: readonly CheckedRoot[], requested: ImageName): void {
  const [digest, ...others] = new Set(claimants.map((root) => root.digest));
  const digests = digest === undefined ? [] : [digest, ...others];
  const name = formatName(requested);
  if (digest === undefined || others.length > 0) {
    const found =
      digest === undefined
        ? "nothing but referrers; expected an image, one referrer, or no tag"
        : `${digests.length} images, expected one, or the platforms of one, each without a name and with a platform in ` +
          "index.json; leave the tag out to keep their own names";
    const message = `Cannot name the image "${name}": the archive holds ${found}`;
    throw new StowageError("INDEX_INVALID", message, { detail: { digests } });
  }
  if (requested.digest === undefined || requested.digest === digest) return;
  const message = `Cannot name the image "${name}": the archive holds "${digest}"`;
  throw new StowageError("DIGEST_INVALID", message, { detail: { found: digest, expected: requested.digest } });
}

/** A root of the archive. */
interface PlacedRoot {
  readonly digest: Digest;
  readonly subject: Digest | undefined;
  /** Undefined for a referrer without a name. */
  readonly repository: string | undefined;
}

const tooManyHomes = "Cannot load the archive: its referrers belong into too many places";

/**
 * Returns the repositories of each referrer without a name, by the referrer's digest: those of its subject. Clients
 * find such a referrer only by its subject, so it is published in all of them. Throws `LIMIT_EXCEEDED`.
 */
export function homesOfReferrers(manifests: readonly PlacedRoot[]): ReadonlyMap<Digest, ReadonlySet<string>> {
  const bySubject = new Map<Digest, Digest[]>();
  const places = new Map<string, readonly [digest: Digest, repository: string]>();
  const addPlace = (digest: Digest, repository: string): unknown =>
    places.set(`${repository}@${digest}`, [digest, repository]);
  for (const { digest, subject, repository } of manifests) {
    if (repository !== undefined) {
      addPlace(digest, repository);
    } else if (subject !== undefined) {
      const referrers = bySubject.get(subject) ?? [];
      bySubject.set(subject, referrers);
      referrers.push(digest);
    }
  }
  const homes = new Map<Digest, Set<string>>();
  let count = 0;
  // The map grows during the loop: a referrer may have referrers.
  for (const [subject, repository] of places.values()) {
    for (const digest of bySubject.get(subject) ?? []) {
      const repositories = homes.get(digest) ?? new Set();
      if (repositories.has(repository)) continue;
      if (++count > maxPlaces) throw limitExceeded(tooManyHomes, { expected: maxPlaces });
      homes.set(digest, repositories.add(repository));
      addPlace(digest, repository);
    }
  }
  return homes;
}
