/** The images of a store or a service, each with what can be said of it. */
import { StowageError } from "../../errors.ts";
import { formatReference } from "../../oci/reference.ts";
import { concurrently } from "../../streams/concurrently.ts";
import { Refusal } from "../send/service-client.ts";
import { type ImageDetails, describeImage } from "./describe-image.ts";
import { type ImageSource, type ListedEntry, type ManifestIdentity, isComplete } from "./image-source.ts";

/** Repositories, and then images, that are read at the same time. */
const maxConcurrentReads = 16;

/** An image's details take two reads and more: for more images than this they are left out, unless they are wanted. */
export const maxDetailed = 500;

export interface ListedImage extends ManifestIdentity {
  readonly repository: string;
  /** Its tag, or its digest where it has none. */
  readonly reference: string;
  /** Of a referrer, the digest of what it says something about. */
  readonly subject?: string | undefined;
  readonly details?: ImageDetails | undefined;
}

export interface Listing {
  readonly entries: readonly ListedEntry[];
  /** What is wrong with repositories that are damaged: they hide no others. */
  readonly failures: readonly StowageError[];
}

/** The images of these repositories, in the order of their names. */
export async function listEntries(source: ImageSource, repositories: readonly string[]): Promise<Listing> {
  const found: (readonly ListedEntry[])[] = repositories.map(() => []);
  const failures: StowageError[] = [];
  await concurrently(repositories.entries(), maxConcurrentReads, async ([i, repository]) => {
    try {
      found[i] = (await source.entries(repository)).toSorted(byReference);
    } catch (error) {
      if (!(error instanceof StowageError) || !isDamage(error)) throw error;
      failures.push(error);
    }
  });
  return { entries: found.flat(), failures };
}

export interface ResolvedImages {
  readonly images: readonly ListedImage[];
  /** What is wrong with images that are damaged: they hide no others. */
  readonly failures: readonly StowageError[];
}

/** Says of each entry what it is, with or without its details. Those that are gone by now are left out. */
export async function resolveEntries(
  source: ImageSource,
  entries: readonly ListedEntry[],
  { withDetails }: { readonly withDetails: boolean },
): Promise<ResolvedImages> {
  const images: (ListedImage | undefined)[] = entries.map(() => undefined);
  const failures: StowageError[] = [];
  await concurrently(entries.entries(), maxConcurrentReads, async ([i, entry]) => {
    try {
      images[i] = withDetails ? await detailed(source, entry) : await identified(source, entry);
    } catch (error) {
      if (!(error instanceof StowageError) || !isDamage(error)) throw error;
      failures.push(aboutImage(entry, error));
      if (isComplete(entry)) images[i] = entry;
    }
  });
  return { images: images.filter((image) => image !== undefined), failures };
}

function aboutImage({ repository, reference }: ListedEntry, { code, message }: StowageError): StowageError {
  return new StowageError(code, `Cannot read all of ${formatReference(repository, reference)}: ${message}`);
}

async function identified(source: ImageSource, entry: ListedEntry): Promise<ListedImage | undefined> {
  if (isComplete(entry)) return entry;
  const identity = await source.resolve(entry.repository, entry.reference);
  return identity && { ...entry, ...identity };
}

/** An image whose manifest is lost is listed without details: `stowage verify` says what is wrong with it. */
export async function detailed(source: ImageSource, entry: ListedEntry): Promise<ListedImage | undefined> {
  const { repository, reference, digest = reference } = entry;
  const found = await source.manifest(repository, digest);
  if (found === undefined) return isComplete(entry) ? entry : undefined;
  const { manifest, ...identity } = found;
  const subject = entry.subject ?? manifest.subject?.digest;
  const details = await describeImage(source, repository, found);
  return { repository, reference, ...identity, ...(subject !== undefined && { subject }), details };
}

function isDamage(error: StowageError): boolean {
  const code = error instanceof Refusal ? error.reason : error.code;
  return code === "STORE_DAMAGED" || code === "LIMIT_EXCEEDED";
}

function byReference(a: ListedEntry, b: ListedEntry): number {
  return a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0;
}
