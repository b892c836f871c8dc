/**
 * Makes the images of a docker-archive: an OCI manifest for each image of its `manifest.json`, from files that the load
 * has stored. The same config and layers always make the same manifest.
 */
import { type Digest, algorithmOf, digestOf, isDigest } from "../digest.ts";
import { limitExceeded, quote, StowageError } from "../errors.ts";
import { getBlob, headBlob, readSmallBlob } from "../layout/blobs.ts";
import { type Limits, maxNamed } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type DockerImage, digestInName, parseDockerManifest } from "../oci/docker-manifest.ts";
import { ociConfigType, parseDiffIds } from "../oci/image-config.ts";
import { describeJson } from "../oci/json.ts";
import { ociManifestType, serializeManifest } from "../oci/manifest.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { concurrently } from "../streams/concurrently.ts";
import { containerdNameAnnotation } from "../oci/reference.ts";
import { type Compression, type DockerFiles, compressionOf, maxFirstBytes } from "./docker-files.ts";
import type { RunningLoad } from "./running-load.ts";

/** Layers that are looked for at the same time. */
const maxConcurrentLookups = 32;

const layerType = "application/vnd.oci.image.layer.v1.tar";

/**
 * Makes the images once all files of the archive are in the store. Returns a descriptor for each name of each image, as
 * in an `index.json`. The manifests may still be on their way into the store. Throws `INDEX_INVALID` if `manifest.json`
 * is not valid, `MANIFEST_BLOB_UNKNOWN` if a layer or a config is missing, `ARCHIVE_INVALID` if links lead nowhere, and
 * `MANIFEST_INVALID` or `DIGEST_INVALID` if a config and its layers do not match.
 */
export async function makeDockerImages(load: RunningLoad, files: DockerFiles): Promise<readonly Descriptor[]> {
  const maker = new ImageMaker(load, files);
  const roots: Descriptor[] = [];
  const bytes = files.manifest();
  await load.json.keep(bytes.length);
  for (const image of await load.json.parse(bytes.length, () => parseDockerManifest(bytes))) {
    const manifest = await maker.make(image);
    const named = image.repoTags.map((name) => ({ ...manifest, annotations: { [containerdNameAnnotation]: name } }));
    roots.push(...(named.length === 0 ? [manifest] : named));
  }
  return roots;
}

class ImageMaker {
  readonly #load: RunningLoad;
  readonly #files: DockerFiles;
  /** By the digest of a config: images can share a config. */
  readonly #diffIds = new Map<Digest, readonly string[]>();
  /** By path: images can share layers. */
  readonly #layers = new Map<string, Descriptor>();

  constructor(load: RunningLoad, files: DockerFiles) {
    this.#load = load;
    this.#files = files;
  }

  async make(image: DockerImage): Promise<Descriptor> {
    const { intake, layout } = this.#load;
    checkLayerCount(image);
    const config = { ...(await this.#find(image.config)), mediaType: ociConfigType };
    const diffIds = await this.#readDiffIds(config);
    if (diffIds.length !== image.layers.length) throw wrongCount(image, diffIds.length);
    const layers = await this.#findLayers(image);
    layers.forEach((layer, i) => checkDiffId(layer, { path: image.layers[i], diffId: diffIds[i] }));

    const bytes = serializeManifest(config, layers);
    checkBytes(`Cannot make image ${nameOf(image)}: its manifest would have`, bytes.length, layout.limits);
    const manifest = { digest: await digestOf(bytes), size: bytes.length };
    await intake.storeBytes(bytes, manifest.digest);
    return { mediaType: ociManifestType, ...manifest };
  }

  async #readDiffIds({ digest, size }: Descriptor): Promise<readonly string[]> {
    const known = this.#diffIds.get(digest);
    if (known !== undefined) return known;
    const { layout, signal, json } = this.#load;
    const { store, limits } = layout;
    checkBytes(`Cannot read the config "${digest}": it has`, size, limits);
    await json.keep(size); // the diff_ids of the config are kept
    const diffIds = await json.parse(size, async () => {
      const bytes = await readSmallBlob(store, digest, { maxBytes: limits.maxManifestBytes, signal });
      return parseDiffIds(bytes ?? new Uint8Array(), digest);
    });
    this.#diffIds.set(digest, diffIds);
    return diffIds;
  }

  async #findLayers({ layers }: DockerImage): Promise<readonly Descriptor[]> {
    const missing = new Set(layers.filter((path) => !this.#layers.has(path)));
    await concurrently(missing, maxConcurrentLookups, async (path) => {
      const { compression, ...layer } = await this.#find(path);
      const known = compression ?? compressionOf(await this.#readFirst(layer));
      this.#layers.set(path, { ...layer, mediaType: known === "none" ? layerType : `${layerType}+${known}` });
    });
    return layers.flatMap((path) => this.#layers.get(path) ?? []);
  }

  /**
   * Finds a file in the archive, or in the store by the digest in its name: clients may leave out blobs that the store
   * has.
   */
  async #find(wanted: string): Promise<FoundBlob> {
    const { intake, layout, signal } = this.#load;
    const { path, file } = this.#files.find(wanted);
    const digest = file?.digest ?? digestInName(path);
    if (digest !== undefined) {
      const size = intake.sizeOf(digest) ?? (await headBlob(layout.store, digest, { signal }))?.size;
      if (size !== undefined) return { digest, size, compression: file?.compression };
    }
    this.#files.checkComplete();
    throw missingFile(wanted, digest);
  }

  async #readFirst({ digest, size }: Pick<FoundBlob, "digest" | "size">): Promise<Uint8Array> {
    if (size < maxFirstBytes) return new Uint8Array(); // a range of an empty blob is an error
    const { layout, signal } = this.#load;
    const object = await getBlob(layout.store, digest, { range: { start: 0, end: maxFirstBytes - 1 }, signal });
    return object === undefined ? new Uint8Array() : collectBytes(object.body, maxFirstBytes);
  }
}

interface FoundBlob {
  readonly digest: Digest;
  readonly size: number;
  /** Undefined for a blob of the store. */
  readonly compression: Compression | undefined;
}

/**
 * Checks a layer that is not compressed: its digest must be its diff_id in the config. Digests of different algorithms
 * cannot be compared.
 */
function checkDiffId(
  { mediaType, digest }: Descriptor,
  { path, diffId }: { readonly path: string | undefined; readonly diffId: string | undefined },
): void {
  if (mediaType !== layerType || digest === diffId) return;
  if (isDigest(diffId) && algorithmOf(diffId) !== algorithmOf(digest)) return;
  throw new StowageError(
    "DIGEST_INVALID",
    `Cannot take layer ${describeJson(path)}: it has digest "${digest}", and is neither gzip nor zstd; ` +
      `expected ${describeJson(diffId)}, as its image's config says`,
    { detail: { path, found: digest, expected: diffId } },
  );
}

/**
 * Limits the number of layers. A path of two letters in `manifest.json` becomes a descriptor of two hundred letters.
 */
function checkLayerCount(image: DockerImage): void {
  const found = image.layers.length;
  if (found <= maxNamed) return;
  const problem = `Cannot make image ${nameOf(image)}: manifest.json names ${found} layers`;
  throw limitExceeded(problem, { found, expected: maxNamed });
}

function nameOf({ repoTags, config }: DockerImage): string {
  return quote(repoTags[0] ?? config);
}

function wrongCount(image: DockerImage, expected: number): StowageError {
  const found = image.layers.length;
  return new StowageError(
    "MANIFEST_INVALID",
    `Cannot make image ${nameOf(image)}: manifest.json names ${found} layers, its config has ${expected} diff_ids`,
    { detail: { found, expected } },
  );
}

function checkBytes(problem: string, found: number, { maxManifestBytes }: Limits): void {
  if (found <= maxManifestBytes) return;
  throw limitExceeded(`${problem} ${found} bytes`, { limit: "maxManifestBytes", found, expected: maxManifestBytes });
}

function missingFile(path: string, digest: Digest | undefined): StowageError {
  const where =
    digest === undefined ? "which is not in the archive" : "which is neither in the archive nor in the store";
  return new StowageError(
    "MANIFEST_BLOB_UNKNOWN",
    `Cannot load the archive: its manifest.json names ${quote(path)}, ${where} as a file that can be a layer ` +
      'or a config; in a folder only those named by a digest, "*.tar", "*.tar.gz", … and "layer" can',
    { detail: { path, ...(digest !== undefined && { digest }) } },
  );
}
