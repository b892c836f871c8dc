/** What people want to know about an image: its size, its platforms and its layers. */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { type Descriptor, platformOf } from "../oci/descriptor.ts";
import { type ConfigSummary, summarizeConfig } from "../oci/image-config.ts";
import type { ImageIndex, ImageManifest } from "../oci/manifest.ts";
import type { ImageSource, SourceManifest } from "../remote/image-source.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { concurrently } from "../streams/concurrently.ts";
import { VerifiedBytes } from "../streams/verify-bytes.ts";

/** A larger config is not read. */
const maxConfigBytes = 4 * 1024 * 1024;

/** The largest number of parts of an index that are read. Real images have fewer platforms. */
const defaultMaxParts = 64;

/** Parts of an index that are read at the same time. */
const maxConcurrentReads = 4;

/** Where images are read, and the signal that ends the reading. */
export interface ImagePlace {
  readonly source: ImageSource;
  readonly signal?: AbortSignal | undefined;
}

export interface DescribeOptions {
  /** Parts of an index that are read. */
  readonly maxParts?: number | undefined;
  /** A larger config is not read. */
  readonly maxConfigBytes?: number | undefined;
  /**
   * The configs of an index's parts are read too, for their dates and for the commands of their layers. True by
   * default.
   */
  readonly readsPartConfigs?: boolean | undefined;
}

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
export async function describeImage(
  place: ImagePlace,
  repository: string,
  { manifest }: Pick<SourceManifest, "manifest">,
  options: DescribeOptions = {},
): Promise<ImageDetails> {
  return manifest.kind === "index"
    ? describeIndex(place, repository, manifest, options)
    : describeManifest(place, repository, manifest, options);
}

async function describeIndex(
  place: ImagePlace,
  repository: string,
  index: ImageIndex,
  options: DescribeOptions,
): Promise<ImageDetails> {
  const { maxParts = defaultMaxParts, maxConfigBytes: most, readsPartConfigs = true } = options;
  const parts = index.manifests.slice(0, maxParts);
  const described: (ImagePart | undefined)[] = parts.map(() => undefined);
  const sizes = new Map<string, number>();
  await concurrently(parts.entries(), maxConcurrentReads, async ([i, part]) => {
    const found = await readIfValid(place, repository, part.digest);
    if (found?.manifest.kind !== "manifest") return; // a part that was not loaded, or an index again
    for (const { digest, size } of found.manifest.blobs) sizes.set(digest, size);
    const ofPart = { maxConfigBytes: readsPartConfigs ? most : 0 };
    const details = await describeManifest(place, repository, found.manifest, ofPart);
    described[i] = { digest: part.digest, ...details, platforms: platformsOf(part) ?? details.platforms };
  });
  const manifests = described.filter((part) => part !== undefined);
  return {
    totalSize: sumOf(sizes.values()),
    platforms: index.manifests.flatMap((part) => platformsOf(part) ?? []),
    created: index.annotations?.[createdAnnotation] ?? manifests.find(({ created }) => created !== undefined)?.created,
    manifests,
  };
}

async function describeManifest(
  place: ImagePlace,
  repository: string,
  manifest: ImageManifest,
  options: DescribeOptions,
): Promise<ImageDetails> {
  const bytes = await readConfig(place, repository, manifest, options);
  return detailsOf(manifest, bytes === undefined ? { history: [] } : summarizeConfig(bytes));
}

/** The details of an image for one platform. */
export function detailsOf(
  { blobs, annotations }: ImageManifest,
  { created, platform, history }: ConfigSummary,
): ImageDetails & { readonly layers: readonly Layer[] } {
  const [, ...layers] = blobs;
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

/** The config of an image. Undefined if it is gone or too large, or if the manifest is not one of an image. */
export async function readConfig(
  { source, signal }: ImagePlace,
  repository: string,
  { blobs: [config] }: ImageManifest,
  { maxConfigBytes: most = maxConfigBytes }: DescribeOptions = {},
): Promise<Uint8Array | undefined> {
  if (config === undefined || !isConfig(config) || config.size > most) return undefined;
  const body = await source.readBlob(repository, config, { signal });
  return body && collectBytes(new VerifiedBytes(body, config), config.size);
}

/** Undefined if the manifest is gone, or malformed. */
export async function readIfValid(
  { source, signal }: ImagePlace,
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

/** Is this the error of a damaged image or repository? All others can still be read. */
export function isDamage(error: unknown): error is StowageError {
  return error instanceof StowageError && damages.has(error.code);
}

const damages: ReadonlySet<string> = new Set(["DIGEST_INVALID", "LIMIT_EXCEEDED", "SIZE_INVALID", "STORE_DAMAGED"]);

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
