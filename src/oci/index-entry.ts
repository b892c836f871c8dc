/** An entry of a repository's index: a descriptor, whose annotations hold its tag and its subject. */
import type { Descriptor } from "./descriptor.ts";

/** The annotation of an index entry that holds its tag (image specification, "Pre-Defined Annotation Keys"). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";

/**
 * The annotation of an index entry that holds the digest of its subject, so that referrers are found without reading them.
 */
export const subjectAnnotation = "dev.stowage.subject";

/** The tag of an index entry; one without is found by its digest alone. */
export function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** The manifest that an index entry says something about. */
export function subjectOf(entry: Descriptor): string | undefined {
  return entry.annotations?.[subjectAnnotation];
}
