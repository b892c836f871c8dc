/** Lists the closure of images: all manifests and blobs that they name. Export packs them, and copy moves them. */
import type { Digest } from "../digest.ts";
import { limitExceeded, StowageError } from "../errors.ts";
import { maxPlaces } from "../limits.ts";
import { type Descriptor, type ManifestIdentity, platformOf } from "../oci/descriptor.ts";
import { summarizeConfig } from "../oci/image-config.ts";
import { type Manifest, isForeign } from "../oci/manifest.ts";
import type { ImageSource, ListedReferrer, SourceManifest } from "../remote/image-source.ts";
import { collectBytes } from "../streams/collect-bytes.ts";
import { concurrently } from "../streams/concurrently.ts";
import { VerifiedBytes } from "../streams/verify-bytes.ts";
import { DescriptorList, distinct } from "./descriptor-list.ts";
import { successorsOf } from "./read-manifest.ts";

/** A larger config is not read for its platform. */
const maxConfigBytes = 4 * 1024 * 1024;

/** Manifests that are read at the same time. */
const maxConcurrentReads = 8;

export interface ListClosureOptions {
  /**
   * Platforms such as `linux/arm64`. Manifests for other platforms are left out. By default, and if empty: all
   * platforms.
   */
  readonly platforms?: readonly string[] | undefined;
  /** Lists the referrers of all manifests too, such as signatures, and their closures. */
  readonly referrers?: boolean | undefined;
  /**
   * The number of manifests and blobs that may still be listed. Several closures can share this number. By default
   * `maxPlaces`.
   */
  readonly placesLeft?: PlacesLeft | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How many manifests, blobs and referrers may still be listed. */
export class PlacesLeft {
  #left = maxPlaces;

  /** Throws `LIMIT_EXCEEDED`. */
  take(places: number, digest: Digest): void {
    this.#left -= places;
    if (this.#left >= 0) return;
    const message = `Cannot take "${digest}": the images name too many manifests, blobs and referrers`;
    throw limitExceeded(message, { limit: "maxPlaces", digest, expected: maxPlaces });
  }
}

/** Manifests below manifests, and referrers of referrers: real images have few levels. */
const maxLevels = 64;

/** Where the images are. */
interface ClosurePlace {
  readonly source: ImageSource;
  readonly repository: string;
}

/** A manifest or an index of the closure. */
export interface ListedManifest extends ManifestIdentity {
  readonly kind: Manifest["kind"];
  /** The manifests of an index that are in the closure too. */
  readonly manifests: DescriptorList;
  /** A manifest's config, then its layers in order. Of an index: the blobs that it names beside manifests. */
  readonly blobs: DescriptorList;
}

export interface ListedClosure {
  /** By digest: roots, children and referrers. Children come before their parents. */
  readonly manifests: ReadonlyMap<Digest, ListedManifest>;
  /** A referrer with two tags comes twice. */
  readonly referrers: readonly ListedReferrer[];
}

/**
 * Lists everything below the roots. An index may be sparse: a child that the source lacks is left out. Throws
 * `MANIFEST_UNKNOWN` if a root has no manifest for the platforms, `STORE_DAMAGED` if the source lacks a root, or all
 * children of an index, and `LIMIT_EXCEEDED` above `maxPlaces` manifests and blobs.
 */
export async function listClosure(
  { source, repository }: ClosurePlace,
  roots: readonly ManifestIdentity[],
  options: ListClosureOptions,
): Promise<ListedClosure> {
  const list = new ClosureList(source, repository, options);
  await list.readAll(roots);
  return list.closure(roots);
}

interface BriefManifest extends ListedManifest {
  /** Layers that clients fetch from elsewhere. The source may have a copy. */
  readonly foreign: DescriptorList;
}

class ClosureList {
  readonly #source: ImageSource;
  readonly #repository: string;
  readonly #options: ListClosureOptions;
  /** By digest. Undefined for a manifest that the source lacks. */
  readonly #read = new Map<Digest, ListedManifest | undefined>();
  readonly #referrers: ListedReferrer[] = [];
  readonly #placesLeft: PlacesLeft;

  constructor(source: ImageSource, repository: string, options: ListClosureOptions) {
    this.#source = source;
    this.#repository = repository;
    this.#options = options;
    this.#placesLeft = options.placesLeft ?? new PlacesLeft();
  }

  /** Reads level by level: the roots, then their children and referrers, and so on. */
  async readAll(roots: readonly ManifestIdentity[]): Promise<void> {
    let level = await this.#readLevel(roots, true);
    for (let depth = 1; level.length > 0; depth++) {
      if (depth > maxLevels) throw tooDeep(level[0]?.digest);
      level = await this.#readLevel(level);
    }
    for (const { digest } of roots) await this.#checkPlatform(digest);
  }

  /** Returns the next level. */
  async #readLevel(level: readonly ManifestIdentity[], areRoots = false): Promise<readonly ManifestIdentity[]> {
    const unread = [...new Map(level.map((descriptor) => [descriptor.digest, descriptor])).values()].filter(
      ({ digest }) => !this.#read.has(digest),
    );
    if (unread.length === 0) return [];
    const children: (readonly Descriptor[])[] = [];
    await concurrently(unread.entries(), maxConcurrentReads, async ([i, descriptor]) => {
      const listed = await this.#readOne(descriptor, areRoots);
      this.#read.set(descriptor.digest, listed);
      children[i] = listed === undefined ? [] : [...listed.manifests];
    });
    const found = unread.map(({ digest }) => digest).filter((digest) => this.#read.get(digest) !== undefined);
    const { referrers: isWanted, signal } = this.#options;
    const referrers = isWanted ? await this.#source.listReferrers(this.#repository, new Set(found), { signal }) : [];
    for (const referrer of referrers) {
      this.#placesLeft.take(1, referrer.digest);
      this.#referrers.push(referrer);
    }
    return [...children.flat(), ...referrers];
  }

  closure(roots: readonly ManifestIdentity[]): ListedClosure {
    const manifests = new Map<Digest, ListedManifest>();
    const add = (digest: Digest): void => {
      const listed = this.#read.get(digest);
      if (listed === undefined || manifests.has(digest)) return;
      for (const child of listed.manifests) add(child.digest);
      manifests.set(digest, this.#withoutAbsent(listed));
    };
    for (const { digest } of [...roots, ...this.#referrers]) add(digest);
    for (const { digest } of roots) if (!manifests.has(digest)) throw lost(digest);
    return { manifests, referrers: this.#referrers.filter(({ digest }) => manifests.has(digest)) };
  }

  /** Drops the children that the source lacks. An index without any child is damaged. */
  #withoutAbsent(listed: ListedManifest): ListedManifest {
    const children = [...listed.manifests];
    const present = children.filter(({ digest }) => this.#read.get(digest) !== undefined);
    const [first] = children;
    if (first !== undefined && present.length === 0 && listed.blobs.length === 0) throw lost(first.digest);
    return present.length === children.length ? listed : { ...listed, manifests: new DescriptorList(present) };
  }

  async #readOne(
    { digest: wanted, mediaType }: ManifestIdentity,
    isRoot: boolean,
  ): Promise<ListedManifest | undefined> {
    const { signal } = this.#options;
    const found = await this.#source.readManifest(this.#repository, wanted, { mediaType, signal });
    const brief = found && this.#brief(found, isRoot); // a parsed manifest can take 20 MiB
    if (brief === undefined) return undefined;
    const { foreign, ...listed } = brief;
    const absent = new Set<string>();
    for (const { digest } of foreign) {
      if ((await this.#source.headBlob(this.#repository, digest, { signal })) === undefined) absent.add(digest);
    }
    if (absent.size === 0) return listed;
    return { ...listed, blobs: new DescriptorList([...listed.blobs].filter(({ digest }) => !absent.has(digest))) };
  }

  /** The parts that are kept. Undefined for an index below a root that has no manifest for the platforms. */
  #brief({ digest, size, manifest }: SourceManifest, isRoot: boolean): BriefManifest | undefined {
    const { platforms = [] } = this.#options;
    const { kind, mediaType } = manifest;
    const { manifests, blobs } = successorsOf(manifest);
    const wanted = platforms.length === 0 ? manifests : ofPlatforms(manifests, platforms);
    this.#placesLeft.take(1 + wanted.length + blobs.length, digest);
    if (wanted.length === 0 && manifests.length > 0) {
      if (isRoot) throw this.#noSuchPlatform(digest, platformsOf(manifests));
      return undefined;
    }
    return {
      digest,
      size,
      mediaType,
      kind,
      manifests: new DescriptorList(distinct(wanted)),
      blobs: new DescriptorList(blobs),
      foreign: new DescriptorList(distinct(blobs.filter(isForeign))),
    };
  }

  /**
   * Throws if the image is for another platform. The config names the platform. An artifact, such as a chart, names
   * none, and is for every platform.
   */
  async #checkPlatform(digest: Digest): Promise<void> {
    const root = this.#read.get(digest);
    const [config] = root?.kind === "manifest" ? root.blobs : [];
    const { platforms = [] } = this.#options;
    if (platforms.length === 0 || config === undefined || config.size > maxConfigBytes) return;
    const platform = summarizeConfig(await this.#readConfig(config)).platform;
    const isWanted = platform === undefined || platforms.some((wanted) => fits(platform, wanted));
    if (!isWanted) throw this.#noSuchPlatform(digest, [platform]);
  }

  async #readConfig(config: Descriptor): Promise<Uint8Array> {
    const { signal } = this.#options;
    const body = await this.#source.readBlob(this.#repository, config, { signal });
    if (body === undefined) throw lost(config.digest);
    return collectBytes(new VerifiedBytes(body, config), config.size);
  }

  #noSuchPlatform(digest: Digest, found: readonly string[]): StowageError {
    const { platforms = [] } = this.#options;
    const expected = platforms.join(" or ");
    const message = `Cannot find an image for ${expected}: "${digest}" is for ${found.join(", ") || "no platform"}`;
    return new StowageError("MANIFEST_UNKNOWN", message, { detail: { digest, found, expected: platforms } });
  }
}

/** BuildKit's annotation of an attestation: the digest of the manifest that it is about. */
const attestedAnnotation = "vnd.docker.reference.digest";

/** The manifests for the platforms, and their attestations. */
function ofPlatforms(manifests: readonly Descriptor[], platforms: readonly string[]): readonly Descriptor[] {
  const isWanted = ({ platform }: Descriptor): boolean => {
    const found = platformOf(platform);
    return found !== undefined && platforms.some((it) => fits(found, it));
  };
  const wanted = new Set<string>(manifests.filter(isWanted).map(({ digest }) => digest));
  return manifests.filter(
    ({ digest, annotations = {} }) => wanted.has(digest) || wanted.has(annotations[attestedAnnotation] ?? ""),
  );
}

/** `linux/arm64` is wanted for `linux/arm64/v8` too. `linux/arm/v7` is not wanted for `linux/arm/v6`. */
function fits(platform: string, wanted: string): boolean {
  return platform === wanted || platform.startsWith(`${wanted}/`);
}

function platformsOf(manifests: readonly Descriptor[]): string[] {
  return [...new Set(manifests.flatMap(({ platform }) => platformOf(platform) ?? []))];
}

function lost(digest: Digest): StowageError {
  return new StowageError("STORE_DAMAGED", `Cannot read "${digest}": an image needs it, and it is gone`);
}

function tooDeep(digest: Digest | undefined): StowageError {
  const problem = `Cannot take "${digest}": indexes and referrers are nested in too many levels`;
  return limitExceeded(problem, { limit: "maxLevels", digest, expected: maxLevels });
}
