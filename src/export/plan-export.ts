/** Decides which files a tarball of images has. No blob is read: its manifests tell the tarball's length and ETag. */
import { createHash } from "node:crypto";
import { closureReader } from "../layout/closure-reader.ts";
import { DescriptorList } from "../layout/descriptor-list.ts";
import type { Layout, Turn } from "../layout/layout.ts";
import { type ClosureReader, type ListedClosure, listClosure } from "../layout/list-closure.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { referredDigest, tagOf } from "../oci/index-entry.ts";
import { ociLayoutJson } from "../oci/manifest.ts";
import type { ImageName } from "../oci/reference.ts";
import { type ArchiveRoot, serializeArchiveIndex, serializeDockerManifest } from "./archive-json.ts";

/** Changes whenever other bytes are written for the same images. It is a part of the ETag. */
const format = "stowage-export-1";

const blockBytes = 512;

/** Two blocks of zeros end a tarball. */
const endBytes = 2 * blockBytes;

/** An image to pack. */
export interface WantedImage extends Pick<Descriptor, "mediaType" | "digest" | "size"> {
  readonly name: ImageName;
}

export interface PlanOptions {
  /** Packs only these platforms of an index, such as `linux/arm64`. By default all. */
  readonly platforms?: readonly string[] | undefined;
  /** Packs signatures, attestations and bills of materials too. */
  readonly referrers?: boolean | undefined;
}

/** A small file of the archive. */
export interface TextFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface ExportPlan {
  /** `oci-layout`, `index.json`, and `manifest.json` if an engine can run one of the images. */
  readonly texts: readonly TextFile[];
  /** Manifests, configs and layers, each once, in the order of the archive. */
  readonly blobs: DescriptorList;
  /** Length of the tarball in bytes. */
  readonly size: number;
  /** Names the bytes of the tarball: 64 hex digits. */
  readonly etag: string;
}

/**
 * Plans a tarball of images of a store. The plan depends on the images alone. Throws `MANIFEST_UNKNOWN` if an image has no
 * manifest for the platforms, `STORE_DAMAGED` if the store lost a manifest, and `LIMIT_EXCEEDED` for too many parts.
 */
export async function planExport(
  layout: Layout,
  images: readonly WantedImage[],
  { platforms = [], referrers = false }: PlanOptions,
  { caller, signal = AbortSignal.any([]) }: Turn = {},
): Promise<ExportPlan> {
  const turn = { caller, signal };
  const found: ArchiveRoot[] = [];
  const repositories = new Set(images.map(({ name }) => name.repository));
  const referrersOf: ClosureReader["referrersOf"] = async (digests) => {
    const own: ArchiveRoot[] = [];
    for (const repository of referrers ? repositories : []) {
      for (const entry of await readEntries(layout, repository, turn)) {
        if (digests.has(referredDigest(entry) ?? "")) own.push(rootOf(entry, repository));
      }
    }
    found.push(...own);
    return own;
  };
  const closure = await listClosure(images, closureReader(layout, { ...turn, referrersOf }), { platforms });
  return planFiles(images, found, closure);
}

/** A referrer without a tag has no name: a load publishes it beside its subject. */
function rootOf(entry: Descriptor, repository: string): ArchiveRoot {
  const { mediaType, digest, size } = entry;
  const tag = tagOf(entry);
  return { mediaType, digest, size, name: tag === undefined ? undefined : { repository, tag } };
}

function planFiles(
  images: readonly WantedImage[],
  referrers: readonly ArchiveRoot[],
  closure: ListedClosure,
): ExportPlan {
  const present = referrers.filter(({ digest }) => closure.has(digest));
  const dockerManifest = serializeDockerManifest(images, closure);
  const texts = [
    { path: "oci-layout", bytes: new TextEncoder().encode(ociLayoutJson) },
    { path: "index.json", bytes: serializeArchiveIndex([...images, ...present]) },
    ...(dockerManifest === undefined ? [] : [{ path: "manifest.json", bytes: dockerManifest }]),
  ];
  const blobs = blobsOf(closure);
  const sizes = [...texts.map(({ bytes }) => bytes.length), ...Array.from(blobs, ({ size }) => size)];
  const size = sizes.reduce((sum, bytes) => sum + entryBytes(bytes), endBytes);
  const hash = createHash("sha256").update(format);
  for (const { bytes } of texts) hash.update(bytes);
  for (const { digest, size: bytes } of blobs) hash.update(`\n${digest} ${bytes}`);
  return { texts, blobs, size, etag: hash.digest("hex") };
}

/** Manifests first: a reader then knows early which blobs it needs. */
function blobsOf(closure: ListedClosure): DescriptorList {
  const all = new Map<string, Pick<Descriptor, "digest" | "size">>();
  for (const manifest of closure.values()) all.set(manifest.digest, manifest);
  for (const { blobs } of closure.values()) {
    for (const blob of blobs) if (!all.has(blob.digest)) all.set(blob.digest, blob);
  }
  return new DescriptorList(Array.from(all.values(), ({ digest, size }) => ({ mediaType: "", digest, size })));
}

/** Bytes of a file in a tarball, with its header and the zeros behind it. */
function entryBytes(size: number): number {
  return blockBytes + Math.ceil(size / blockBytes) * blockBytes;
}
