/**
 * The manifests of a load that say something about another: signatures, attestations, bills of materials. They are listed by
 * their subject (distribution specification, "Listing Referrers"), so that a load publishes each of them by its digest,
 * also where only an index leads to it: BuildKit's attestations, or the index under a tag such as `sha256-<hex>` in which
 * clients of a registry without such lists keep them ("Referrers Tag Schema").
 */
import { StowageError } from "../errors.ts";

export interface Referrer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType: string | undefined;
  /** The digest of the manifest that it says something about. */
  readonly subject: string;
}

/** Places in which the indexes of a load name a referrer, or an index that leads to one. */
const maxPlaces = 20_000;

/** A type is at most 127 characters on each side of its slash (RFC 6838, section 4.2); what is longer is in the manifest. */
const maxArtifactTypeLength = 255;

export class FoundReferrers {
  readonly #byDigest = new Map<string, Referrer>();
  /** By index, the digests of its parts that are referrers, or lead to one. */
  readonly #parts = new Map<string, Set<string>>();
  #places = 0;

  add({ mediaType, digest, size, artifactType, subject }: Referrer): void {
    const isLong = artifactType !== undefined && artifactType.length > maxArtifactTypeLength;
    this.#byDigest.set(digest, { mediaType, digest, size, artifactType: isLong ? undefined : artifactType, subject });
  }

  /** Says that an index names this part. All that there is below the part has been said before. Throws `LIMIT_EXCEEDED`. */
  addPart(index: string, part: string): void {
    const parts = this.#parts.get(index) ?? new Set();
    const isOnTheWay = this.#byDigest.has(part) || this.#parts.has(part);
    if (!isOnTheWay || parts.has(part)) return;
    if (++this.#places > maxPlaces) throw tooMany(index);
    this.#parts.set(index, parts.add(part));
  }

  /** What this manifest is, if it is a referrer. */
  get(digest: string): Referrer | undefined {
    return this.#byDigest.get(digest);
  }

  /** The referrers among these manifests and below them, each once. */
  below(digests: Iterable<string>): Referrer[] {
    const seen = new Set(digests); // grows while it is gone through
    for (const digest of seen) for (const part of this.#parts.get(digest) ?? []) seen.add(part);
    return [...seen].flatMap((digest) => this.#byDigest.get(digest) ?? []);
  }
}

function tooMany(index: string): StowageError {
  return new StowageError(
    "LIMIT_EXCEEDED",
    `Cannot take index "${index}": the indexes of the archive name referrers in more than ${maxPlaces} places`,
    { detail: { expected: maxPlaces } },
  );
}
