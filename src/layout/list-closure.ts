/** Lists the closure of images: all manifests and blobs that they name. Export packs them, and copy moves them. */
import { limitExceeded, StowageError } from "../errors.ts";
import { maxPlaces } from "../limits.ts";
import { type Descriptor, platformOf } from "../oci/descriptor.ts";
import { summarizeConfig } from "../oci/image-config.ts";
import { type Manifest, isForeign } from "../oci/manifest.ts";
import { concurrently } from "../streams/concurrently.ts";
import { DescriptorList, distinct } from "./descriptor-list.ts";
import { successorsOf } from "./read-manifest.ts";

/** Manifests that are read at the same time. */
const maxConcurrentReads = 8;

/** Where the manifests of a closure are read. */
export interface ClosureReader {
  /** Undefined if the source has no such manifest. */
  readonly readManifest: (wanted: Descriptor) => Promise<Manifest | undefined>;
  /** The config of an image. Undefined if the source has none. */
  readonly readConfig: (config: Descriptor) => Promise<Uint8Array | undefined>;
  readonly hasBlob: (digest: string) => Promise<boolean>;
  /** The manifests that refer to any of these. */
  readonly referrersOf: (digests: ReadonlySet<string>) => Promise<readonly Descriptor[]>;
}

export interface ListClosureOptions {
  /** Platforms such as `linux/arm64`. Manifests for other platforms are left out. Empty for all platforms. */
  readonly platforms: readonly string[];
}

/** A manifest or an index of the closure. */
export interface ListedManifest extends Pick<Descriptor, "digest" | "mediaType" | "size"> {
  readonly kind: Manifest["kind"];
  /** The manifests of an index that are in the closure too. */
  readonly manifests: DescriptorList;
  /** A manifest's config, then its layers in order. Of an index: the blobs that it names beside manifests. */
  readonly blobs: DescriptorList;
}

/** By digest: roots, children and referrers. Children come before their parents. */
export type ListedClosure = ReadonlyMap<string, ListedManifest>;

/**
 * Lists everything below the roots. An index may be sparse: a child that the source lacks is left out. Throws
 * `MANIFEST_UNKNOWN` if a root has no manifest for the platforms, `STORE_DAMAGED` if the source lacks a root, or all
 * children of an index, and `LIMIT_EXCEEDED` above `maxPlaces` manifests and blobs.
 */
export async function listClosure(
  roots: readonly Descriptor[],
  reader: ClosureReader,
  { platforms }: ListClosureOptions,
): Promise<ListedClosure> {
  const list = new ClosureList(reader, platforms);
  await list.readAll(roots);
  return list.closure(roots);
}

interface BriefManifest extends ListedManifest {
  /** Layers that clients fetch from elsewhere. The source may have a copy. */
  readonly foreign: DescriptorList;
}

class ClosureList {
  readonly #reader: ClosureReader;
  readonly #platforms: readonly string[];
  /** By digest. Undefined for a manifest that the source lacks. */
  readonly #read = new Map<string, ListedManifest | undefined>();
  readonly #referrers = new Map<string, Descriptor>();
  #places = 0;

  constructor(reader: ClosureReader, platforms: readonly string[]) {
    this.#reader = reader;
    this.#platforms = platforms;
  }

  /** Reads level by level: the roots, then their children and referrers, and so on. */
  async readAll(roots: readonly Descriptor[]): Promise<void> {
    await this.#readLevel(roots, true);
    for (const { digest } of roots) await this.#checkPlatform(digest);
  }

  async #readLevel(level: readonly Descriptor[], areRoots = false): Promise<void> {
    const unread = [...new Map(level.map((descriptor) => [descriptor.digest, descriptor])).values()].filter(
      ({ digest }) => !this.#read.has(digest),
    );
    if (unread.length === 0) return;
    const children: (readonly Descriptor[])[] = [];
    await concurrently(unread.entries(), maxConcurrentReads, async ([i, descriptor]) => {
      const listed = await this.#readOne(descriptor, areRoots);
      this.#read.set(descriptor.digest, listed);
      children[i] = listed === undefined ? [] : [...listed.manifests];
    });
    const found = unread.map(({ digest }) => digest).filter((digest) => this.#read.get(digest) !== undefined);
    const referrers = await this.#reader.referrersOf(new Set(found));
    for (const referrer of referrers) this.#referrers.set(referrer.digest, referrer);
    await this.#readLevel([...children.flat(), ...referrers]);
  }

  closure(roots: readonly Descriptor[]): ListedClosure {
    const manifests = new Map<string, ListedManifest>();
    const add = (digest: string): void => {
      const listed = this.#read.get(digest);
      if (listed === undefined || manifests.has(digest)) return;
      for (const child of listed.manifests) add(child.digest);
      manifests.set(digest, this.#withoutAbsent(listed));
    };
    for (const { digest } of [...roots, ...this.#referrers.values()]) add(digest);
    for (const { digest } of roots) if (!manifests.has(digest)) throw lost(digest);
    return manifests;
  }

  /** A sparse index has some of its children. An index without any of them is damaged. */
  #withoutAbsent(listed: ListedManifest): ListedManifest {
    const children = [...listed.manifests];
    const present = children.filter(({ digest }) => this.#read.get(digest) !== undefined);
    const [first] = children;
    if (first !== undefined && present.length === 0 && listed.blobs.length === 0) throw lost(first.digest);
    return present.length === children.length ? listed : { ...listed, manifests: new DescriptorList(present) };
  }

  async #readOne(descriptor: Descriptor, isRoot: boolean): Promise<ListedManifest | undefined> {
    const manifest = await this.#reader.readManifest(descriptor);
    const brief = manifest && this.#brief(descriptor, manifest, isRoot); // a parsed manifest can take 20 MiB
    if (brief === undefined) return undefined;
    const { foreign, ...listed } = brief;
    const absent = new Set<string>();
    for (const { digest } of foreign) if (!(await this.#reader.hasBlob(digest))) absent.add(digest);
    if (absent.size === 0) return listed;
    return { ...listed, blobs: new DescriptorList([...listed.blobs].filter(({ digest }) => !absent.has(digest))) };
  }

  /** The parts that are kept. Undefined for an index below a root that has no manifest for the platforms. */
  #brief({ digest, size }: Descriptor, manifest: Manifest, isRoot: boolean): BriefManifest | undefined {
    const { kind, mediaType } = manifest;
    const { manifests, blobs } = successorsOf(manifest);
    const wanted = this.#platforms.length === 0 ? manifests : ofPlatforms(manifests, this.#platforms);
    this.#count(1 + wanted.length + blobs.length, digest);
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

  #count(places: number, digest: string): void {
    this.#places += places;
    if (this.#places <= maxPlaces) return;
    const message = `Cannot take "${digest}": the images name too many manifests and blobs`;
    throw limitExceeded(message, { limit: "maxPlaces", digest, expected: maxPlaces });
  }

  /** An artifact, such as a chart, is for every platform: its config names none. */
  async #checkPlatform(digest: string): Promise<void> {
    const root = this.#read.get(digest);
    const [config] = root?.kind === "manifest" ? root.blobs : [];
    if (this.#platforms.length === 0 || config === undefined) return;
    const bytes = await this.#reader.readConfig(config);
    const platform = bytes && summarizeConfig(bytes).platform;
    const isWanted = platform === undefined || this.#platforms.some((wanted) => fits(platform, wanted));
    if (!isWanted) throw this.#noSuchPlatform(digest, [platform]);
  }

  #noSuchPlatform(digest: string, found: readonly string[]): StowageError {
    const expected = this.#platforms.join(" or ");
    const message = `Cannot find an image for ${expected}: "${digest}" is for ${found.join(", ") || "no platform"}`;
    return new StowageError("MANIFEST_UNKNOWN", message, { detail: { digest, found, expected: this.#platforms } });
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
  const wanted = new Set(manifests.filter(isWanted).map(({ digest }) => digest));
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

function lost(digest: string): StowageError {
  return new StowageError("STORE_DAMAGED", `Cannot read manifest "${digest}": an image needs it, and it is gone`);
}
