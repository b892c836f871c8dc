/** An entry of a repository's index: a descriptor, whose annotations hold its tag and its subject. */
import { type Digest, algorithmOf, hexOf, isAlgorithm, isDigest } from "../digest.ts";
import type { Descriptor } from "./descriptor.ts";

/** The annotation of an index entry that holds its tag (image specification, "Pre-Defined Annotation Keys"). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/**
 * The annotation of an index entry that holds the digest of its subject, so that referrers are found without reading
 * them.
 */
export const subjectAnnotation = "dev.stowage.subject";

/**
 * The annotation of an index entry that holds the end of its image, such as `2026-12-03T12:00:00.000Z`. The next gc
 * after the end drops the entry.
 */
export const expiresAnnotation = "dev.stowage.expires";

/** The tag of an index entry. An entry without a tag is found only by its digest. */
export function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** The digest of an index entry's subject. */
export function subjectOf(entry: Descriptor): Digest | undefined {
  const subject = entry.annotations?.[subjectAnnotation];
  return isDigest(subject) ? subject : undefined;
}

const endForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z$/;

/**
 * The end of an entry's image, in milliseconds since 1970. Undefined if the image has no end, or none that can be read.
 */
export function endOf(entry: Descriptor): number | undefined {
  const text = entry.annotations?.[expiresAnnotation] ?? "";
  const end = endForm.test(text) ? Date.parse(text) : Number.NaN; // without the form, "5" would be May 2001
  return Number.isNaN(end) ? undefined : end;
}

/** Digits of a hash in a tag. A longer hash is cut. */
const maxHexInTag = 64;

/**
 * The tag under which clients without the referrers API keep an index of a manifest's referrers (distribution
 * specification, "Referrers Tag Schema"). Cosign's tags begin with it: `sha256-<hex>.sig`.
 */
export function referrersTag(digest: Digest): string {
  return `${algorithmOf(digest)}-${hexOf(digest).slice(0, maxHexInTag)}`;
}

/** Is the tag one of a manifest's referrers, or one of Cosign's? */
export function isReferrersTag(tag: string): boolean {
  const [, algorithm = ""] = /^([a-z0-9]+)-[0-9a-f]{64}/.exec(tag) ?? [];
  return isAlgorithm(algorithm);
}

/** The digest in such a tag. Undefined if the tag has only a part of the hash, as for SHA-512. */
export function subjectOfTag(tag: string): Digest | undefined {
  const [, algorithm, hex] = /^([a-z0-9]+)-([0-9a-f]{64})/.exec(tag) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** Tells whether an entry refers to one of these manifests: by its subject, or else by its tag. */
export function refersTo(digests: ReadonlySet<Digest>): (entry: Descriptor) => boolean {
  const tags = new Set(Array.from(digests, referrersTag));
  return (entry) => {
    const subject = subjectOf(entry);
    return subject === undefined ? tags.has(withoutKind(tagOf(entry) ?? "")) : digests.has(subject);
  };
}

/** Cuts the kind off one of Cosign's tags: `sha256-<hex>.sig`. The rest is a `referrersTag`. */
export function withoutKind(tag: string): string {
  return tag.replace(/\.\w+$/, "");
}
