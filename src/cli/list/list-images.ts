/** The images of a store or a service, with their details. */
import type { Digest } from "../../digest.ts";
import { StowageError } from "../../errors.ts";
import { type Descriptor, platformOf } from "../../oci/descriptor.ts";
import { type ConfigSummary, summarizeConfig } from "../../oci/image-config.ts";
import type { ImageIndex, ImageManifest } from "../../oci/manifest.ts";
import { formatReference } from "../../oci/reference.ts";
import { concurrently } from "../../streams/concurrently.ts";
import type { ImageSource, ListedEntry, ManifestIdentity, SourceManifest } from "../../remote/image-source.ts";
import { collectBytes } from "../../streams/collect-bytes.ts";
import { VerifiedBytes } from "../../streams/verify-bytes.ts";

/** Repositories, and later images, that are read at the same time. */
const maxConcurrentReads = 16;

/** Details take at least two reads for each image. Lists of more images have none, unless the user asks for details. */
export const maxDetailed = 500;

/** A larger config is not read. */
const maxConfigBytes = 4 * 1024 * 1024;

/** What is listed, and the signal that ends it. */
export interface ListPlace {
  readonly source: ImageSource;
  readonly signal: AbortSignal;
}

/** An image in a list. A service lists only tags, without the rest. */
export interface RepositoryEntry extends Partial<ManifestIdentity> {
  readonly repository: string;
  /** The tag, or the digest of an image without a tag. */
  readonly reference: string;
  /** For a referrer, the digest of its subject. */
  readonly subject?: Digest | undefined;
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
export async function listEntries({ source, signal }: ListPlace, repositories: readonly string[]): Promise<Listing> {
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

function toEntry(repository: string, { reference, subject, ...entry }: ListedEntry): RepositoryEntry {
  const { digest, mediaType, size } = entry;
  const isWhole = digest !== undefined && mediaType !== undefined && size !== undefined;
  return {
    repository,
    reference,
    ...(isWhole && { digest, mediaType, size }),
    ...(subject !== undefined && { subject }),
  };
}

export interface ResolvedImages {
  readonly images: readonly ListedImage[];
  /** One error for each damaged image. */
  readonly failures: readonly StowageError[];
}

/** Finds the manifest of each entry, and its details if they are wanted. Entries that are gone by now are left out. */
export async function resolveEntries(
  place: ListPlace,
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

async function identified({ source, signal }: ListPlace, entry: RepositoryEntry): Promise<ListedImage | undefined> {
  if (isComplete(entry)) return entry;
  const identity = await source.headManifest(entry.repository, entry.reference, { signal });
  return identity && { ...entry, ...identity };
}

/**
 * The image of an entry, with details. An image without its manifest is listed without details: `stowage verify`
 * reports it.
 */
export async function detailed(place: ListPlace, entry: RepositoryEntry): Promise<ListedImage | undefined> {
  const { repository, reference, digest = reference } = entry;
  const found = await readIfValid(place, repository, digest);
  if (found === undefined) return isComplete(entry) ? entry : undefined;
  const { manifest, mediaType, size } = found;
  const subject = entry.subject ?? manifest.subject?.digest;
  const details = await describeImage(place, repository, found);
  const identity = { digest: found.digest, mediaType, size };
  return { repository, reference, ...identity, ...(subject !== undefined && { subject }), details };
}

function isComplete(entry: RepositoryEntry): entry is ListedImage {
  return entry.digest !== undefined && entry.mediaType !== undefined && entry.size !== undefined;
}

/** Undefined if the manifest is gone, or malformed. */
async function readIfValid(
  { source, signal }: ListPlace,
  repository: string,
  reference: string,
): Promise<SourceManifest | undefined> {
  try {
    return await source.readManifest(repository, reference, { signal });
  } catch (error) {
    if (error instanceof StowageError && isMalformed.has(error.code)) return undefined;
    throw error;
  }
}

const isMalformed: ReadonlySet<string> = new Set(["DIGEST_INVALID", "MANIFEST_INVALID", "SIZE_INVALID", "UNSUPPORTED"]);

const damages: ReadonlySet<string> = new Set(["DIGEST_INVALID", "LIMIT_EXCEEDED", "SIZE_INVALID", "STORE_DAMAGED"]);

function isDamage({ code }: StowageError): boolean {
  return damages.has(code);
}

function byReference(a: RepositoryEntry, b: RepositoryEntry): number {
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

export interface ImagePart extends ImageDetails {
  readonly digest: Digest;
}

const createdAnnotation = "org.opencontainers.image.created";

/** Reads the config, and the parts of an index. Parts that cannot be read are left out. */
async function describeImage(
  place: ListPlace,
  repository: string,
  { manifest }: SourceManifest,
): Promise<ImageDetails> {
  return manifest.kind === "index"
    ? describeIndex(place, repository, manifest)
    : describeManifest(place, repository, manifest);
}

async function describeIndex(place: ListPlace, repository: string, index: ImageIndex): Promise<ImageDetails> {
  const manifests: ImagePart[] = [];
  const sizes = new Map<string, number>();
  for (const part of index.manifests.slice(0, maxParts)) {
    const found = await readIfValid(place, repository, part.digest);
    if (found?.manifest.kind !== "manifest") continue; // a part that was not loaded, or an index again
    for (const { digest, size } of found.manifest.blobs) sizes.set(digest, size);
    const details = await describeManifest(place, repository, found.manifest);
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
  place: ListPlace,
  repository: string,
  { blobs, annotations }: ImageManifest,
): Promise<ImageDetails> {
  const [config, ...layers] = blobs;
  const bytes = config !== undefined && isConfig(config) ? await readConfig(place, repository, config) : undefined;
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

/** Undefined if the config is gone, or large. */
async function readConfig(
  { source, signal }: ListPlace,
  repository: string,
  config: Descriptor,
): Promise<Uint8Array | undefined> {
  if (config.size > maxConfigBytes) return undefined;
  const body = await source.readBlob(repository, config, { signal });
  return body && collectBytes(new VerifiedBytes(body, config), config.size);
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
