/** The two lists of images in an exported tarball: `index.json` of the image layout, and `manifest.json` of Docker. */
import { type Digest, pathUnder } from "../digest.ts";
import { type ManifestIdentity, platformOf } from "../oci/descriptor.ts";
import { refNameAnnotation } from "../oci/index-entry.ts";
import { ociIndexType } from "../oci/manifest.ts";
import { type ImageName, containerdNameAnnotation, formatName, nameForEngines } from "../oci/reference.ts";
import type { ListedManifest } from "../layout/list-closure.ts";

/** A root of the archive: an image, or a referrer. A referrer without a tag has no name. */
export interface ArchiveRoot extends ManifestIdentity {
  readonly name: ImageName | undefined;
}

/** The manifests of the archive, by digest. */
export type Manifests = ReadonlyMap<Digest, ListedManifest>;

export function blobPath(digest: Digest): string {
  return pathUnder("blobs/", digest);
}

/**
 * `index.json` (image specification, "Image Layout"). Engines read the name that containerd writes, and others the tag.
 */
export function serializeArchiveIndex(roots: readonly ArchiveRoot[]): Uint8Array {
  const manifests = roots.map(({ mediaType, digest, size, name }) => ({
    mediaType,
    digest,
    size,
    ...(name && { annotations: annotationsOf(name) }),
  }));
  return toBytes({ schemaVersion: 2, mediaType: ociIndexType, manifests });
}

function annotationsOf(name: ImageName): Record<string, string> {
  return {
    [containerdNameAnnotation]: nameForEngines(withoutSpareDigest(name)),
    ...(name.tag !== undefined && { [refNameAnnotation]: name.tag }),
  };
}

/**
 * With a tag, a name needs no digest. An image that has the name `app:1@sha256:…` is not found as `app:1` by Docker and
 * ctr.
 */
function withoutSpareDigest(name: ImageName): ImageName {
  return name.tag === undefined ? name : { ...name, digest: undefined };
}

/**
 * `manifest.json`, as `docker save` writes it: one entry for each image that an engine can run. Undefined without such
 * an image. Of an image for several platforms, the entry of linux/amd64 has the names, else the first entry.
 */
export function serializeDockerManifest(images: readonly ArchiveRoot[], manifests: Manifests): Uint8Array | undefined {
  const entries = new Map<string, DockerEntry>(); // by digest: an image with two names has one entry
  for (const { digest, name } of images) {
    const runnable = runnableIn(digest, manifests);
    for (const { manifest } of runnable)
      entries.set(manifest.digest, entries.get(manifest.digest) ?? toEntry(manifest));
    const named = runnable.find(({ platform }) => platform === "linux/amd64") ?? runnable[0];
    if (named !== undefined && name?.tag !== undefined) {
      entries.get(named.manifest.digest)?.RepoTags.push(formatName(withoutSpareDigest(name)));
    }
  }
  return entries.size === 0 ? undefined : toBytes([...entries.values()]);
}

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags: string[];
  readonly Layers: readonly string[];
}

function toEntry({ blobs }: ListedManifest): DockerEntry {
  const [config = "", ...layers] = Array.from(blobs, ({ digest }) => blobPath(digest));
  return { Config: config, RepoTags: [], Layers: layers };
}

interface Runnable {
  readonly manifest: ListedManifest;
  readonly platform: string | undefined;
}

/** The manifests below a root that an engine can run, each once. Attestations and charts are not among them. */
function runnableIn(root: Digest, manifests: Manifests): readonly Runnable[] {
  const found = new Map<string, Runnable>();
  const seen = new Set<string>();
  const visit = (digest: Digest, platform: string | undefined): void => {
    const manifest = manifests.get(digest);
    if (manifest === undefined || seen.has(digest)) return;
    seen.add(digest);
    if (isRunnable(manifest) && platform !== "unknown/unknown") found.set(digest, { manifest, platform });
    for (const child of manifest.manifests) visit(child.digest, platformOf(child.platform));
  };
  visit(root, undefined);
  return [...found.values()];
}

const configType = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\./;
const layerType = /^application\/vnd\.(?:oci\.image\.layer|docker\.image\.rootfs)\./;

function isRunnable({ kind, blobs }: ListedManifest): boolean {
  const [config, ...layers] = blobs;
  if (kind !== "manifest" || config === undefined || !configType.test(config.mediaType)) return false;
  return layers.every(({ mediaType }) => layerType.test(mediaType));
}

function toBytes(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}
