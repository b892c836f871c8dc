/** What an image is: its platforms, how large it is to pull, when it was made, and its layers. */
import { type ConfigSummary, summarizeConfig } from "../../oci/image-config.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type { ImageIndex, ImageManifest } from "../../oci/manifest.ts";
import { platformOf } from "../../oci/platform.ts";
import type { FoundManifest, ImageSource } from "./image-source.ts";

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
