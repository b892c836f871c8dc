/** Decides which files a tarball of images has. No blob is read: its manifests tell the tarball's length and ETag. */
import { createHash } from "node:crypto";
import { blockBytes, endBytes, wholeBlocks } from "../archive/tar-header.ts";
import type { Digest } from "../digest.ts";
import { DescriptorList } from "../layout/descriptor-list.ts";
import {
  type ListClosureOptions,
  type ListedClosure,
  type ListedManifest,
  PlacesLeft,
  listClosure,
} from "../layout/list-closure.ts";
import type { ManifestIdentity } from "../oci/descriptor.ts";
import { ociLayoutJson } from "../oci/manifest.ts";
import { type ImageName, formatName } from "../oci/reference.ts";
import type { ImageSource, ListedReferrer } from "../remote/image-source.ts";
import {
  type ArchiveRoot,
  type Manifests,
  blobPath,
  serializeArchiveIndex,
  serializeDockerManifest,
} from "./archive-json.ts";

/** Changes whenever other bytes are written for the same images. It is a part of the ETag. */
const format = "stowage-export-1";

/** An image to pack. */
export interface WantedImage extends ManifestIdentity {
  /** The repository from which the image is read. */
  readonly repository: string;
  /** The name that the image gets in the archive. */
  readonly name: ImageName;
}

/** A small file of the archive. */
export interface TextFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What is read from one repository. */
export interface RepositoryBlobs {
  readonly repository: string;
  readonly manifests: DescriptorList;
  /** Configs and layers. */
  readonly blobs: DescriptorList;
}

export interface ExportPlan {
  /** `oci-layout`, `index.json`, and `manifest.json` if an engine can run one of the images. */
  readonly texts: readonly TextFile[];
  /** Each blob once, in the order of the archive. In each repository, manifests come first. */
  readonly blobs: readonly RepositoryBlobs[];
  /** Length of the tarball in bytes. */
  readonly size: number;
  /** Names the bytes of the tarball: 64 hex digits. */
  readonly etag: string;
}

/**
 * Plans a tarball of images. The plan depends on the images alone, not on their order. Throws `MANIFEST_UNKNOWN` if an
 * image has no manifest for the platforms, `STORE_DAMAGED` if the source lost a manifest, `LIMIT_EXCEEDED` for too many
 * parts, and the source's errors.
 */
export async function planExport(
  source: ImageSource,
  images: readonly WantedImage[],
  options: Omit<ListClosureOptions, "placesLeft">,
): Promise<ExportPlan> {
  const placesLeft = new PlacesLeft();
  const groups: ClosedImages[] = [];
  for (const repository of new Set(images.map((image) => image.repository).toSorted())) {
    const own = images.filter((image) => image.repository === repository);
    const closure = await listClosure({ source, repository }, own, { ...options, placesLeft });
    groups.push({ repository, images: own, closure });
  }
  return planFiles(groups);
}

/** Images of one repository, with everything below them. */
export interface ClosedImages {
  readonly repository: string;
  readonly images: readonly WantedImage[];
  readonly closure: ListedClosure;
}

/** Plans a tarball of images whose closures have been listed. */
export function planFiles(groups: readonly ClosedImages[]): ExportPlan {
  const manifests = new Map<Digest, ListedManifest>();
  const images: WantedImage[] = [];
  const referrers: ArchiveRoot[] = [];
  const seen = new Set<Digest>();
  const blobs = groups.map(({ repository, images: own, closure }): RepositoryBlobs => {
    const named = inOrder(own).map((image) => ({ ...image, ...asRead(image, closure.manifests) }));
    images.push(...named);
    const [name = repository] = named.map((image) => image.name.repository);
    for (const referrer of closure.referrers)
      referrers.push(rootOf({ ...referrer, ...asRead(referrer, closure.manifests) }, name));
    for (const [digest, manifest] of closure.manifests) manifests.set(digest, manifest);
    return { repository, ...blobsOf(closure.manifests, seen) };
  });
  const dockerManifest = serializeDockerManifest(images, manifests);
  const texts = [
    { path: "oci-layout", bytes: new TextEncoder().encode(ociLayoutJson) },
    { path: "index.json", bytes: serializeArchiveIndex([...images, ...referrers]) },
    ...(dockerManifest === undefined ? [] : [{ path: "manifest.json", bytes: dockerManifest }]),
  ];
  return { texts, blobs, ...measure(texts, blobs) };
}

/** Each image once, in the order of the names. */
function inOrder(images: readonly WantedImage[]): readonly WantedImage[] {
  const byName = new Map(images.map((image) => [`${formatName(image.name)} ${image.digest}`, image]));
  return [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, image]) => image);
}

/** A registry's word about size and media type is not checked: the manifest's own count. */
function asRead(root: ManifestIdentity, manifests: Manifests): ManifestIdentity {
  const { digest, mediaType, size } = manifests.get(root.digest) ?? root;
  return { digest, mediaType, size };
}

/** The same tarball without some of its blobs: a load finds them in its store. */
export function withoutBlobs(plan: ExportPlan, isLeftOut: (digest: Digest) => boolean): ExportPlan {
  const rest = (list: DescriptorList): DescriptorList =>
    new DescriptorList([...list].filter(({ digest }) => !isLeftOut(digest)));
  const blobs = plan.blobs.map((group) => ({
    repository: group.repository,
    manifests: rest(group.manifests),
    blobs: rest(group.blobs),
  }));
  return { texts: plan.texts, blobs, ...measure(plan.texts, blobs) };
}

/** A referrer without a tag has no name: a load publishes it beside its subject. */
function rootOf({ tag, ...referrer }: ListedReferrer, repository: string): ArchiveRoot {
  return { ...referrer, name: tag === undefined ? undefined : { repository, tag } };
}

function measure(texts: readonly TextFile[], groups: readonly RepositoryBlobs[]): Pick<ExportPlan, "size" | "etag"> {
  const hash = createHash("sha256").update(format);
  let size = endBytes;
  for (const { path, bytes } of texts) {
    hash.update(bytes);
    size += entryBytes(path, bytes.length);
  }
  for (const { digest, size: bytes } of groups.flatMap(({ manifests, blobs }) => [...manifests, ...blobs])) {
    hash.update(`\n${digest} ${bytes}`);
    size += entryBytes(blobPath(digest), bytes);
  }
  return { size, etag: hash.digest("hex") };
}

/**
 * The blobs that no earlier repository has. A reader that meets the manifests first knows early which blobs it needs.
 */
function blobsOf(manifests: Manifests, seen: Set<Digest>): Omit<RepositoryBlobs, "repository"> {
  const unseen = (all: readonly ManifestIdentity[]): DescriptorList =>
    new DescriptorList(all.filter(({ digest }) => !seen.has(digest) && seen.add(digest)));
  const listed = [...manifests.values()];
  return { manifests: unseen(listed), blobs: unseen(listed.flatMap(({ blobs }) => [...blobs])) };
}

/** Bytes of a file in a tarball, with its headers and the zeros behind it. */
function entryBytes(path: string, size: number): number {
  const headerBytes = path.length > maxHeaderName ? blockBytes + extensionBytes : blockBytes;
  return headerBytes + wholeBlocks(size);
}

/** Characters of a path in a header. A longer path, such as that of a SHA-512, has an extended header. */
const maxHeaderName = 100;
const extensionBytes = 2 * blockBytes;
