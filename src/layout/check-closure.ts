/**
 * Checks closures. The closure of an image is everything that the image names. An image is published only if its whole
 * closure is in the store with the right sizes. Blobs from earlier loads count too. An index may be sparse: it may lack
 * the manifests of some platforms, but not of all.
 */
import type { Digest } from "../digest.ts";
import { type ErrorCode, limitExceeded, StowageError } from "../errors.ts";
import { maxListed, maxNamed } from "../limits.ts";
import type { Descriptor, ManifestIdentity } from "../oci/descriptor.ts";
import { type Manifest, isForeign, isIndexType, parseManifest } from "../oci/manifest.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type InlinedBlob, checkData } from "./check-data.ts";
import { DescriptorList, distinct } from "./descriptor-list.ts";
import { type ClosureOptions, NamedFinder, maxConcurrentRequests, missingBlob } from "./find-named.ts";
import type { Layout } from "./layout.ts";
import { NotedParts } from "./noted-parts.ts";
import { successorsOf } from "./read-manifest.ts";

/** What a check has found: the roots and the manifests. Their blobs are in the store. */
export interface CheckedClosure {
  readonly roots: readonly CheckedRoot[];
  /** The digests of all manifests that were found. */
  readonly manifests: ReadonlySet<Digest>;
  /** The manifests with a subject. */
  readonly referrers: NotedParts<Referrer>;
  /**
   * By the digest of each config in `ClosureOptions.configs`: the digest of the first root that leads to the config.
   */
  readonly rootOfConfig: ReadonlyMap<Digest, Digest | undefined>;
}

/**
 * A root whose closure is in the store. `mediaType` is that of the manifest's bytes, even if the descriptor has
 * another.
 */
export interface CheckedRoot extends Descriptor {
  /** The digest of the root's subject. If the root is a signature, for example, this is the signed image. */
  readonly subject: Digest | undefined;
  /**
   * True if another root, an index, leads to this root. ORAS, for example, lists a platform's manifest beside the
   * index.
   */
  readonly isPart: boolean;
  /**
   * The manifests that a sparse index lacks: at most 1000 for one root, and 10,000 for all roots. A sparse index always
   * lists at least one.
   */
  readonly absent: readonly Descriptor[];
}

/**
 * A manifest with a subject: a signature, an attestation or a bill of materials. A registry lists referrers by their
 * subject (distribution specification, "Listing Referrers"). So a load publishes each referrer by its digest, even if
 * only an index leads to it. Examples are BuildKit's attestations, and an index under a tag such as `sha256-<hex>`
 * ("Referrers Tag Schema").
 */
interface Referrer extends ManifestIdentity {
  readonly artifactType: string | undefined;
  /** The digest of the manifest that the referrer refers to. */
  readonly subject: Digest;
}

/**
 * A type has at most 127 characters on each side of its slash (RFC 6838, section 4.2). A longer type is not copied to
 * the index. It is still in the manifest.
 */
const maxArtifactTypeLength = 255;

/**
 * Checks each root. Throws `MANIFEST_BLOB_UNKNOWN` if a blob or a manifest is missing, `SIZE_INVALID` if its size is
 * wrong, `MANIFEST_INVALID` if a manifest cannot be read, `STORE_DAMAGED` if the store's copy of a manifest is damaged,
 * and the errors of `checkData`. Throws `LIMIT_EXCEEDED` if a manifest is too large, indexes are nested too deep, or
 * too many manifests are missing.
 */
export async function checkClosure(
  layout: Layout,
  roots: readonly Descriptor[],
  options: ClosureOptions,
): Promise<CheckedClosure> {
  const check = new ClosureCheck(layout, options);
  for (const root of roots) await check.visitRoot(root);
  return check.closure(roots);
}

/** A manifest that was found. */
type Visited = Pick<CheckedRoot, "mediaType" | "size" | "subject">;

/** The parts of a manifest that the check keeps while it asks the store for the manifest's blobs and children. */
interface ReadManifest extends Visited, Pick<Manifest, "kind" | "artifactType"> {
  /** Blobs that a descriptor holds in `data`. */
  readonly inlined: readonly InlinedBlob[];
  /** The config and layers, or the blobs that an index names beside manifests. */
  readonly blobs: DescriptorList;
  /** The manifests that an index names. */
  readonly children: DescriptorList;
}

interface Visit {
  /** The digest of the manifest that names this one, for messages. */
  readonly namedBy: string;
  /** The number of indexes above this manifest. `index.json` does not count. */
  readonly depth: number;
}

/** Smaller manifests are read at the same time. Larger manifests, and indexes, are read one after the other. */
const maxSmallBytes = 64 * 1024;

class ClosureCheck {
  readonly #layout: Layout;
  readonly #options: ClosureOptions;
  readonly #finder: NamedFinder;
  /**
   * By digest. Undefined for a manifest that was not sent and is not in the store. Nested indexes can lead to one
   * manifest on a million paths, so each is visited once.
   */
  readonly #visited = new Map<Digest, Visited | undefined>();
  /** Digests of the manifests that indexes name. */
  readonly #parts = new Set<Digest>();
  readonly #absent = new NotedParts<Descriptor>("missing manifests");
  readonly #referrers = new NotedParts<Referrer>("referrers");
  readonly #rootOfConfig: Map<Digest, Digest | undefined>;
  /** The digest of the root that is being checked. */
  #root: Digest | undefined;

  constructor(layout: Layout, options: ClosureOptions) {
    this.#layout = layout;
    this.#options = options;
    this.#finder = new NamedFinder(layout, options);
    this.#rootOfConfig = new Map(Array.from(options.configs ?? [], (config) => [config, undefined]));
  }

  async visitRoot(root: Descriptor): Promise<void> {
    this.#root = root.digest;
    const visited = await this.#visit(root, { namedBy: "index.json", depth: 0 });
    if (visited === undefined) this.#finder.fail(missingBlob(root, "index.json"));
  }

  closure(roots: readonly Descriptor[]): CheckedClosure {
    let left = maxNamed;
    const absentFrom = new Map<Digest, readonly Descriptor[]>(); // by digest: one image can have thousands of names
    const checked = roots.flatMap((root): CheckedRoot[] => {
      const { digest } = root;
      const visited = this.#visited.get(digest);
      if (visited === undefined) return [];
      const listed = absentFrom.get(digest) ?? firstOf(this.#absent.below([digest]), maxListed);
      absentFrom.set(digest, listed);
      const absent = listed.slice(0, Math.max(1, left));
      left -= absent.length;
      return [{ ...root, ...visited, isPart: this.#parts.has(digest), absent }];
    });
    const manifests = new Set([...this.#visited].flatMap(([digest, visited]) => (visited ? [digest] : [])));
    return { roots: checked, manifests, referrers: this.#referrers, rootOfConfig: this.#rootOfConfig };
  }

  /** Checks a manifest or an index, and everything below it. Returns undefined if the manifest is nowhere. */
  async #visit(descriptor: Descriptor, visit: Visit): Promise<Visited | undefined> {
    const { digest } = descriptor;
    if (!this.#visited.has(digest)) this.#visited.set(digest, await this.#tryVisit(descriptor, visit));
    const visited = this.#visited.get(digest);
    if (visited !== undefined) this.#finder.checkSize(descriptor, visited.size, visit.namedBy);
    return visited;
  }

  /**
   * Visits a manifest. With `onProblem`, a manifest that cannot be read does not count as missing, because its problem
   * was reported already.
   */
  async #tryVisit(descriptor: Descriptor, visit: Visit): Promise<Visited | undefined> {
    try {
      return await this.#visitOnce(descriptor, visit);
    } catch (error) {
      if (!(error instanceof StowageError) || endsTheCheck.has(error.code)) throw error;
      this.#finder.fail(error);
      return { mediaType: descriptor.mediaType, size: descriptor.size, subject: undefined };
    }
  }

  async #visitOnce(descriptor: Descriptor, { namedBy, depth }: Visit): Promise<Visited | undefined> {
    const { digest, size } = descriptor;
    const { json } = this.#options;
    this.#finder.checkManifestBytes(descriptor, namedBy);
    await json.keep(size);
    const manifest = await this.#read(descriptor, namedBy);
    if (manifest !== undefined) {
      await this.#checkNamedBlobs(digest, manifest);
      if (manifest.kind === "index") await this.#checkChildren(digest, manifest, depth + 1);
    }
    // the absent manifests of a sparse index stay in memory, so the index still counts
    if (!this.#absent.leadsToNotes(digest)) json.drop(size);
    return manifest && this.#note(digest, manifest);
  }

  #note(digest: Digest, { mediaType, size, subject, artifactType }: ReadManifest): Visited {
    if (subject !== undefined) {
      const isLong = artifactType !== undefined && artifactType.length > maxArtifactTypeLength;
      const type = isLong ? undefined : artifactType;
      this.#referrers.add(digest, { mediaType, digest, size, artifactType: type, subject });
    }
    return { mediaType, size, subject };
  }

  async #checkChildren(index: Digest, { children, blobs }: ReadManifest, depth: number): Promise<void> {
    const { maxIndexDepth } = this.#layout.limits;
    if (depth > maxIndexDepth) {
      const excess = { limit: "maxIndexDepth", expected: maxIndexDepth };
      throw limitExceeded(`Cannot take index "${index}": indexes are nested in too many levels`, excess);
    }
    const visit = { namedBy: index, depth };
    await this.#lookAhead(children, visit);
    let firstAbsent: Descriptor | undefined;
    let isAnyPresent = blobs.length > 0;
    for (const child of children) {
      const { digest } = child;
      const visited = await this.#visit(child, visit);
      if (visited === undefined) {
        firstAbsent ??= child;
        this.#absent.add(digest, child);
      }
      isAnyPresent ||= visited !== undefined;
      this.#parts.add(digest);
      this.#absent.addPart(index, digest);
      this.#referrers.addPart(index, digest);
    }
    if (firstAbsent !== undefined && !isAnyPresent) this.#finder.fail(missingBlob(firstAbsent, index));
  }

  /**
   * Visits small manifests, many at the same time, and notes the children that are nowhere. The caller visits the other
   * children later, one after the other.
   */
  async #lookAhead(children: DescriptorList, { namedBy }: Visit): Promise<void> {
    // With `onProblem`, problems are reported child by child, in order.
    if (children.length < 2 || this.#options.onProblem !== undefined) return;
    let absent = 0;
    await concurrently(children, maxConcurrentRequests, async (child) => {
      const { digest } = child;
      if (this.#visited.has(digest)) return;
      this.#finder.checkManifestBytes(child, namedBy);
      const isSmall = child.size <= maxSmallBytes && !isIndexType(child.mediaType);
      const manifest = isSmall ? await this.#read(child, namedBy) : undefined;
      const isAbsent = isSmall ? manifest === undefined : (await this.#finder.sizeOf(digest)) === undefined;
      if (isAbsent) {
        this.#absent.checkPlaces(++absent);
        this.#visited.set(digest, undefined);
      }
      if (manifest?.kind !== "manifest") return;
      await this.#checkNamedBlobs(digest, manifest);
      this.#visited.set(digest, this.#note(digest, manifest));
    });
  }

  async #checkNamedBlobs(digest: Digest, { inlined, blobs }: ReadManifest): Promise<void> {
    await this.#finder.storeAllInlined(inlined);
    await this.#finder.checkBlobs(blobs, digest);
  }

  /**
   * Reads and parses a manifest. Returns the few parts that the check needs, or undefined if the manifest is nowhere.
   */
  async #read(descriptor: Descriptor, namedBy: string): Promise<ReadManifest | undefined> {
    const { digest, mediaType, size } = descriptor;
    const { json, known } = this.#options;
    return json.parse(size, async () => {
      const bytes = await this.#finder.readManifest(descriptor, namedBy);
      if (bytes === undefined) return undefined;
      this.#finder.checkSize(descriptor, bytes.length, namedBy);
      const manifest = parseManifest(bytes, digest, mediaType);
      const inlined = await checkData(bytes, digest);
      const { manifests, blobs, subject } = successorsOf(manifest);
      if (manifest.kind === "manifest") this.#noteConfig(blobs[0]?.digest);
      const needed = blobs.filter((blob) => !isForeign(blob) || known.sizeOf(blob.digest) !== undefined);
      return {
        kind: manifest.kind,
        mediaType: manifest.mediaType,
        size: bytes.length,
        subject: subject?.digest,
        artifactType: manifest.artifactType,
        inlined,
        blobs: new DescriptorList(distinct(needed)),
        children: new DescriptorList(distinct(manifests)),
      };
    });
  }

  #noteConfig(config: Digest | undefined): void {
    const roots = this.#rootOfConfig;
    if (config !== undefined && roots.has(config) && roots.get(config) === undefined) roots.set(config, this.#root);
  }
}

/** Errors that say nothing about the archive or the store's content. */
const endsTheCheck: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["STORE_UNAVAILABLE", "INTERRUPTED"]);

function firstOf<T>(items: Iterable<T>, count: number): T[] {
  const first: T[] = [];
  for (const item of items) if (first.push(item) === count) break;
  return first;
}
