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
