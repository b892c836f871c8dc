/** An entry of a repository's index: a descriptor, whose annotations hold its tag and its subject. */
import { type Digest, isDigest } from "../digest.ts";
import type { Descriptor } from "./descriptor.ts";

/** The annotation of an index entry that holds its tag (image specification, "Pre-Defined Annotation Keys"). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/**
 * The annotation of an index entry that holds the digest of its subject, so that referrers are found without reading them.
 */
export const subjectAnnotation = "dev.stowage.subject";

/** The tag of an index entry. An entry without a tag is found only by its digest. */
export function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** The digest of an index entry's subject. */
export function subjectOf(entry: Descriptor): Digest | undefined {
  const subject = entry.annotations?.[subjectAnnotation];
  return isDigest(subject) ? subject : undefined;
}

/**
 * The digest of the manifest that an entry refers to: its subject, or the digest in a tag such as `sha256-<hex>.sig`. Cosign and
 * clients without the referrers API use such tags (distribution specification, "Referrers Tag Schema").
 */
export function referredDigest(entry: Descriptor): Digest | undefined {
  const [, algorithm, hex] = /^(\w+)-([0-9a-f]+)(?:\.\w+)?$/.exec(tagOf(entry) ?? "") ?? [];
  const inTag = `${algorithm}:${hex}`;
  return subjectOf(entry) ?? (isDigest(inTag) ? inTag : undefined);
}
