/** The images of a store or a service, each with what can be said of it. */
import { StowageError } from "../../errors.ts";
import { type Descriptor, platformOf } from "../../oci/descriptor.ts";
import { type ConfigSummary, summarizeConfig } from "../../oci/image-config.ts";
import type { ImageIndex, ImageManifest } from "../../oci/manifest.ts";
import { formatReference } from "../../oci/reference.ts";
import { concurrently } from "../../streams/concurrently.ts";
import { Refusal } from "../send/service-client.ts";
import {
  type FoundManifest,
  type ImageSource,
  type ListedEntry,
  type ManifestIdentity,
  isComplete,
} from "./image-source.ts";

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

// What an image is: its platforms, how large it is to pull, when it was made, and its layers.

/** How many parts of an index are read: more than any image has platforms. */
const maxParts = 64;

export interface ImageDetails {
  /** Bytes of all its blobs together, manifests left out: what a pull of every platform fetches. */
  readonly totalSize: number;
  /** As `linux/arm64/v8`; attestations have none. */
  readonly platforms: readonly string[];
  /** RFC 3339, where the image says so. */
  readonly created?: string | undefined;
  /** Of an image for one platform, from the lowest on. */
  readonly layers?: readonly Layer[];
  /** Of an index, its parts that are there. */
  readonly manifests?: readonly ImagePart[];
}

export interface Layer {
  readonly digest: string;
  readonly mediaType: string;
  readonly size: number;
  /** The line of the Dockerfile, or what else has made it. */
  readonly createdBy?: string | undefined;
}

export interface ImagePart extends ImageDetails {
  readonly digest: string;
}

const createdAnnotation = "org.opencontainers.image.created";

/** Reads the config too, and for an index its parts. What cannot be read is left out. */
export async function describeImage(
  source: ImageSource,
  repository: string,
  { manifest }: FoundManifest,
): Promise<ImageDetails> {
  return manifest.kind === "index"
    ? describeIndex(source, repository, manifest)
    : describeManifest(source, repository, manifest);
}

async function describeIndex(source: ImageSource, repository: string, index: ImageIndex): Promise<ImageDetails> {
  const manifests: ImagePart[] = [];
  const sizes = new Map<string, number>();
  for (const part of index.manifests.slice(0, maxParts)) {
    const found = await source.manifest(repository, part.digest);
    if (found?.manifest.kind !== "manifest") continue; // of another machine, or an index again
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
  source: ImageSource,
  repository: string,
  { blobs, annotations }: ImageManifest,
): Promise<ImageDetails> {
  const [config, ...layers] = blobs;
  const bytes =
    config !== undefined && isConfig(config) ? await source.smallBlob(repository, config.digest) : undefined;
  const { created, platform, history }: ConfigSummary = bytes === undefined ? { history: [] } : summarizeConfig(bytes);
  return {
    totalSize: sumOf(new Map(blobs.map(({ digest, size }) => [digest, size])).values()),
    platforms: platform === undefined ? [] : [platform],
    created: annotations?.[createdAnnotation] ?? created,
    layers: layers.map(({ digest, mediaType, size }, i) => ({
      digest,
      mediaType,
      size,
      // A history with another number of steps than layers cannot be matched with them.
      ...(history.length === layers.length && { createdBy: history[i] }),
    })),
  };
}

/** Undefined where the descriptor does not say; none for what runs nowhere, such as an attestation (`unknown/unknown`). */
function platformsOf({ platform }: Descriptor): readonly string[] | undefined {
  const text = platformOf(platform);
  if (text === undefined) return undefined;
  return text.startsWith("unknown/") ? [] : [text];
}

/** That of an image: those of artifacts mean other things, and can be large. */
function isConfig({ mediaType }: Descriptor): boolean {
  return /^application\/vnd\.(?:oci\.image\.config\.v1|docker\.container\.image\.v1)\+json$/.test(mediaType);
}

function sumOf(sizes: Iterable<number>): number {
  return [...sizes].reduce((sum, size) => sum + size, 0);
}
