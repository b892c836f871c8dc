/** The images of a store or a service, with their details. */
import type { Digest } from "../../digest.ts";
import { StowageError } from "../../errors.ts";
import type { ManifestIdentity } from "../../oci/descriptor.ts";
import { formatReference } from "../../oci/reference.ts";
import { type ImageDetails, type ImagePlace, describeImage, readIfValid } from "../../registry/describe-image.ts";
import type { ListedEntry } from "../../remote/image-source.ts";
import { concurrently } from "../../streams/concurrently.ts";

/** Repositories, and later images, that are read at the same time. */
const maxConcurrentReads = 16;

/** Details take at least two reads for each image. Lists of more images have none, unless the user asks for details. */
export const maxDetailed = 500;

/** An image in a list. A service lists only tags, without the rest. */
export interface RepositoryEntry extends Partial<ManifestIdentity> {
  readonly repository: string;
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  /** For a referrer, the digest of its subject. */
  readonly subject?: Digest | undefined;
  /** The end of the image. */
  readonly expires?: string | undefined;
}

export interface ListedImage extends Omit<RepositoryEntry, keyof ManifestIdentity>, ManifestIdentity {
  readonly details?: ImageDetails | undefined;
}

export interface Listing {
  readonly entries: readonly RepositoryEntry[];
  /** One error for each damaged repository. The others are listed. */
  readonly failures: readonly StowageError[];
}

/** The images of the repositories, ordered by name. */
export async function listEntries({ source, signal }: ImagePlace, repositories: readonly string[]): Promise<Listing> {
  const found: (readonly RepositoryEntry[])[] = repositories.map(() => []);
  const failures: StowageError[] = [];
  await concurrently(repositories.entries(), maxConcurrentReads, async ([i, repository]) => {
    try {
      const entries = await source.listEntries(repository, { signal });
      found[i] = entries.map((entry) => toEntry(repository, entry)).toSorted(byReference);
    } catch (error) {
      if (!(error instanceof StowageError) || !isDamage(error)) throw error;
      failures.push(error);
    }
  });
  return { entries: found.flat(), failures };
}

function toEntry(repository: string, { reference, subject, expires, ...entry }: ListedEntry): RepositoryEntry {
  const { digest, mediaType, size } = entry;
  const isWhole = digest !== undefined && mediaType !== undefined && size !== undefined;
  return {
    repository,
    reference,
    ...(isWhole && { digest, mediaType, size }),
    ...(subject !== undefined && { subject }),
    ...(expires !== undefined && { expires }),
  };
}

export interface ResolvedImages {
  readonly images: readonly ListedImage[];
  /** One error for each damaged image. */
  readonly failures: readonly StowageError[];
}

/** Finds the manifest of each entry, and its details if they are wanted. Entries that are gone by now are left out. */
export async function resolveEntries(
  place: ImagePlace,
  entries: readonly RepositoryEntry[],
  { withDetails }: { readonly withDetails: boolean },
): Promise<ResolvedImages> {
  const images: (ListedImage | undefined)[] = entries.map(() => undefined);
  const failures: StowageError[] = [];
  await concurrently(entries.entries(), maxConcurrentReads, async ([i, entry]) => {
    try {
      images[i] = withDetails ? await detailed(place, entry) : await identified(place, entry);
    } catch (error) {
      if (!(error instanceof StowageError) || !isDamage(error)) throw error;
      failures.push(aboutImage(entry, error));
      if (isComplete(entry)) images[i] = entry;
    }
  });
  return { images: images.filter((image) => image !== undefined), failures };
}

function aboutImage({ repository, reference }: RepositoryEntry, { code, message }: StowageError): StowageError {
  return new StowageError(code, `Cannot read all of ${formatReference(repository, reference)}: ${message}`);
}

async function identified({ source, signal }: ImagePlace, entry: RepositoryEntry): Promise<ListedImage | undefined> {
  if (isComplete(entry)) return entry;
  const identity = await source.headManifest(entry.repository, entry.reference, { signal });
  return identity && { ...entry, ...identity };
}

/**
 * The image of an entry, with details. An image without its manifest is listed without details: `stowage verify`
 * reports it.
 */
export async function detailed(place: ImagePlace, entry: RepositoryEntry): Promise<ListedImage | undefined> {
  const { repository, reference, digest = reference, expires } = entry;
  const found = await readIfValid(place, repository, digest);
  if (found === undefined) return isComplete(entry) ? entry : undefined;
  const { manifest, mediaType, size } = found;
  const subject = entry.subject ?? manifest.subject?.digest;
  const details = await describeImage(place, repository, found);
  const identity = { digest: found.digest, mediaType, size };
  const optional = { ...(subject !== undefined && { subject }), ...(expires !== undefined && { expires }) };
  return { repository, reference, ...identity, ...optional, details };
}

function isComplete(entry: RepositoryEntry): entry is ListedImage {
  return entry.digest !== undefined && entry.mediaType !== undefined && entry.size !== undefined;
}

const damages: ReadonlySet<string> = new Set(["DIGEST_INVALID", "LIMIT_EXCEEDED", "SIZE_INVALID", "STORE_DAMAGED"]);

function isDamage({ code }: StowageError): boolean {
  return damages.has(code);
}

function byReference(a: RepositoryEntry, b: RepositoryEntry): number {
  return a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0;
}
