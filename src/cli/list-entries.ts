/** The images of a store or a service, with their details. */
import { StowageError } from "../errors.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { formatReference } from "../oci/reference.ts";
import {
  type ImageDetails,
  type ImagePlace,
  describeImage,
  isDamage,
  readIfValid,
} from "../registry/describe-image.ts";
import type { ListedEntry } from "../remote/image-source.ts";
import { concurrently } from "../streams/concurrently.ts";

/** Repositories, and later images, that are read at the same time. */
const maxConcurrentReads = 16;

/** Details take at least two reads for each image. Lists of more images have none, unless the user asks for details. */
export const maxDetailed = 500;

/** An image in a list. */
export interface RepositoryEntry extends ListedEntry {
  readonly repository: string;
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
      // Scripts read the entries as JSON, which never had a time.
      found[i] = entries.map((entry) => ({ repository, ...entry, changed: undefined })).toSorted(byReference);
    } catch (error) {
      if (!isDamage(error)) throw error;
      failures.push(error);
    }
  });
  return { entries: found.flat(), failures };
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
      if (!isDamage(error)) throw error;
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

function byReference(a: RepositoryEntry, b: RepositoryEntry): number {
  return a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0;
}
