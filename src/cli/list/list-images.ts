/** The images of a store or a service, with their details. */
import type { Digest } from "../../digest.ts";
import { StowageError } from "../../errors.ts";
import { type Descriptor, platformOf } from "../../oci/descriptor.ts";
import { type ConfigSummary, summarizeConfig } from "../../oci/image-config.ts";
import type { ImageIndex, ImageManifest } from "../../oci/manifest.ts";
import { formatReference } from "../../oci/reference.ts";
import type { ManifestIdentity, SourceManifest } from "../../remote/image-source.ts";
import { concurrently } from "../../streams/concurrently.ts";
import { type ImageReader, type ListedEntry, isComplete } from "./image-reader.ts";

/** Repositories, and later images, that are read at the same time. */
const maxConcurrentReads = 16;

/** Details take at least two reads for each image. Lists of more images have none, unless the user asks for details. */
export const maxDetailed = 500;

export interface ListedImage extends ManifestIdentity {
  readonly repository: string;
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  /** For a referrer, the digest of its subject. */
  readonly subject?: Digest | undefined;
  readonly details?: ImageDetails | undefined;
}

interface Listing {
  readonly entries: readonly ListedEntry[];
  /** One error for each damaged repository. The others are listed. */
  readonly failures: readonly StowageError[];
}

/** The images of the repositories, ordered by name. */
export async function listEntries(source: ImageReader, repositories: readonly string[]): Promise<Listing> {
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

interface ResolvedImages {
  readonly images: readonly ListedImage[];
  /** One error for each damaged image. */
  readonly failures: readonly StowageError[];
}

/** Finds the manifest of each entry, and its details if they are wanted. Entries that are gone by now are left out. */
export async function resolveEntries(
  source: ImageReader,
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

async function identified(source: ImageReader, entry: ListedEntry): Promise<ListedImage | undefined> {
  if (isComplete(entry)) return entry;
  const identity = await source.resolve(entry.repository, entry.reference);
  return identity && { ...entry, ...identity };
}

/**
 * The image of an entry, with details. An image without its manifest is listed without details: `stowage verify`
 * reports it.
 */
export async function detailed(source: ImageReader, entry: ListedEntry): Promise<ListedImage | undefined> {
  const { repository, reference, digest = reference } = entry;
  const found = await source.manifest(repository, digest);
  if (found === undefined) return isComplete(entry) ? entry : undefined;
  const { manifest, bytes: _, ...identity } = found;
  const subject = entry.subject ?? manifest.subject?.digest;
  const details = await describeImage(source, repository, found);
  return { repository, reference, ...identity, ...(subject !== undefined && { subject }), details };
}

function isDamage(error: StowageError): boolean {
  return error.code === "STORE_DAMAGED" || error.code === "LIMIT_EXCEEDED";
}

function byReference(a: ListedEntry, b: ListedEntry): number {
  return a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0;
}

/** The largest number of parts of an index that are read. Real images have fewer platforms. */
const maxParts = 64;

export interface ImageDetails {
  /** Bytes of all blobs together, without manifests. A pull of every platform fetches these bytes. */
  readonly totalSize: number;
  /** Such as `linux/arm64/v8`. Attestations have none. */
  readonly platforms: readonly string[];
  /** RFC 3339, if the image has a date. */
  readonly created?: string | undefined;
  /** The layers of an image for one platform, the lowest first. */
  readonly layers?: readonly Layer[];
  /** The parts of an index that the store has. */
  readonly manifests?: readonly ImagePart[];
}

export interface Layer {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** The line of the Dockerfile, for example. */
  readonly createdBy?: string | undefined;
}

interface ImagePart extends ImageDetails {
  readonly digest: Digest;
}

const createdAnnotation = "org.opencontainers.image.created";

/** Reads the config, and the parts of an index. Parts that cannot be read are left out. */
async function describeImage(
  source: ImageReader,
  repository: string,
  { manifest }: SourceManifest,
): Promise<ImageDetails> {
  return manifest.kind === "index"
    ? describeIndex(source, repository, manifest)
    : describeManifest(source, repository, manifest);
}

async function describeIndex(source: ImageReader, repository: string, index: ImageIndex): Promise<ImageDetails> {
  const manifests: ImagePart[] = [];
  const sizes = new Map<string, number>();
  for (const part of index.manifests.slice(0, maxParts)) {
    const found = await source.manifest(repository, part.digest);
    if (found?.manifest.kind !== "manifest") continue; // a part that was not loaded, or an index again
    for (const { digest, size } of found.manifest.blobs) sizes.set(digest, size);
    const details = await describeManifest(source, repository, found.manifest);
    manifests.push({ digest: part.digest, ...details, platforms: platformsOf(part) ?? details.platforms });
  }
  return {
    totalSize: sumOf(sizes.values()),
    platforms: index.manifests.flatMap((part) => platformsOf(part) ?? []),
    created: index.annotations?.[createdAnnotation] ?? manifests.find(({ created }) => created !== undefined)?.created,
    manifests,
  };
}

async function describeManifest(
  source: ImageReader,
  repository: string,
  { blobs, annotations }: ImageManifest,
): Promise<ImageDetails> {
  const [config, ...layers] = blobs;
  const bytes = config !== undefined && isConfig(config) ? await source.config(repository, config) : undefined;
  const { created, platform, history }: ConfigSummary = bytes === undefined ? { history: [] } : summarizeConfig(bytes);
  return {
    totalSize: sumOf(new Map(blobs.map(({ digest, size }) => [digest, size])).values()),
    platforms: platform === undefined ? [] : [platform],
    created: annotations?.[createdAnnotation] ?? created,
    layers: layers.map(({ digest, mediaType, size }, i) => ({
      digest,
      mediaType,
      size,
      // If the history has another number of steps than layers, the two cannot be matched.
      ...(history.length === layers.length && { createdBy: history[i] }),
    })),
  };
}

/** Undefined without a platform in the descriptor. Empty for an attestation (`unknown/unknown`). */
function platformsOf({ platform }: Descriptor): readonly string[] | undefined {
  const text = platformOf(platform);
  if (text === undefined) return undefined;
  return text.startsWith("unknown/") ? [] : [text];
}

/** Only configs of images are read: a config of an artifact can be large, and has other fields. */
function isConfig({ mediaType }: Descriptor): boolean {
  return /^application\/vnd\.(?:oci\.image\.config\.v1|docker\.container\.image\.v1)\+json$/.test(mediaType);
}

function sumOf(sizes: Iterable<number>): number {
  return [...sizes].reduce((sum, size) => sum + size, 0);
}
