/**
 * Closure: an image is published only if everything that it names is in the store with the right size, from this load
 * or from before. An index may be sparse: manifests of other platforms may be missing as a whole, not all of them.
 */
import { type ErrorCode, StowageError } from "../errors.ts";
import type { LoadLimits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { type Manifest, isForeign, isIndexType, isManifestType, parseManifest } from "../oci/manifest.ts";
import type { StoreReader } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type InlinedBlob, checkData } from "./check-data.ts";
import { DescriptorList } from "./descriptor-list.ts";
import type { FoundReferrers } from "./found-referrers.ts";
import { blobKey } from "./keys.ts";
import type { ParsedJson } from "./parsed-json.ts";
import { readSmallBlob } from "./blobs.ts";

/** Blobs and manifests that are asked for at the same time. */
const maxConcurrentRequests = 32;
/** Bytes of a manifest that is read beside others. Larger ones, and indexes, are read one after the other. */
const maxConcurrentBytes = 64 * 1024;

export interface ClosureOptions {
  readonly store: StoreReader;
  readonly limits: LoadLimits;
  readonly signal?: AbortSignal | undefined;
  /** Gives the memory for manifests. */
  readonly parsed: ParsedJson;
  /** What is known to be in the store already. */
  readonly known: {
    sizeOf(digest: string): number | undefined;
    manifest(digest: string): Uint8Array | undefined;
    /** Why the archive has something other than a file under this digest. */
    unusable?(digest: string): StowageError | undefined;
  };
  /** Stores a blob that is in a descriptor's `data`, if the archive has no file of it. */
  readonly storeBlob?: ((bytes: Uint8Array, digest: string) => Promise<void>) | undefined;
  /** Its keys are the digests of configs; each gets the digest of the first root that leads to the config. */
  readonly configOwners?: Map<string, string | undefined> | undefined;
  /** Told of the referrers that are seen, where somebody wants to know. */
  readonly referrers?: FoundReferrers | undefined;
  /** Takes the digests of the manifests that are there, where somebody wants to know. */
  readonly manifests?: Set<string> | undefined;
  /** Told of everything that is wrong, where somebody wants to know all of it: the check goes on then, and does not throw. */
  readonly onProblem?: ((problem: StowageError) => void) | undefined;
}

/** A root whose closure is in the store. Its media type is that of its bytes, whatever its descriptor called it. */
export interface ClosedRoot extends Descriptor {
  /** The digest of the manifest that it says something about, if it is a signature, an attestation or the like. */
  readonly subject: string | undefined;
  /** Another root, an index, leads to it: ORAS lists a platform's manifest beside the index as well. */
  readonly isPart: boolean;
  /** The manifests that are missing from it, if it is a sparse index; of very many, the first, and never none. */
  readonly absent: readonly Descriptor[];
}

/** An index can name very many that are nowhere, and many names can stand for one index. */
const maxListedAbsent = 1000;
/** Of all roots together. Beyond it each lists one, which still says that it is sparse. */
const maxListedInAll = 10_000;
/** Each is asked for and remembered, so an archive's size would be the only bound for the time and the memory. */
const maxAbsent = 20_000;

/**
 * Checks each root. Throws `MANIFEST_BLOB_UNKNOWN` if something is missing, `SIZE_INVALID` if it has another size,
 * `MANIFEST_INVALID` if it cannot be read, `STORE_DAMAGED` if the store's copy of a manifest is damaged, what `checkData`
 * does, and `LIMIT_EXCEEDED` if a manifest is too large, an index too deep, or too much of them missing.
 */
export async function checkClosure(roots: readonly Descriptor[], options: ClosureOptions): Promise<ClosedRoot[]> {
  const check = new ClosureCheck(options);
  const closed: Omit<ClosedRoot, "isPart">[] = [];
  let left = maxListedInAll;
  for (const root of roots) {
    check.root = root.digest;
    const visited = await check.visit(root, { namedBy: "index.json", depth: 0 });
    if (visited === undefined) {
      check.fail(missing(root, "index.json"));
      continue;
    }
    const { mediaType, size, subject } = visited;
    const absent = check.absentFrom(root.digest).slice(0, Math.max(1, left));
    left -= absent.length;
    closed.push({ ...root, mediaType, size, subject, absent });
  }
  return closed.map((root) => ({ ...root, isPart: check.parts.has(root.digest) }));
}

interface Visited extends Pick<ClosedRoot, "mediaType" | "size" | "subject"> {
  readonly sparse: Sparse;
}

/** Where manifests are missing below an index. */
interface Sparse {
  /** Those that it names itself. */
  readonly absent: readonly Descriptor[];
  /** Digests of the indexes that it names and from which some are missing. */
  readonly indexes: readonly string[];
}

const complete: Sparse = { absent: [], indexes: [] };

/** What is kept of a manifest or an index while the store is asked for what it names. */
interface ReadManifest
  extends Pick<Visited, "mediaType" | "size" | "subject">, Pick<Manifest, "kind" | "artifactType"> {
  /** What it has in `data`. */
  readonly inlined: readonly InlinedBlob[];
  /** The config and layers, or what an index names beside manifests. */
  readonly blobs: DescriptorList;
  /** The manifests that an index names. */
  readonly children: DescriptorList;
}
type NamedBlob = Pick<Descriptor, "digest" | "size">;

interface Visit {
  /** The manifest that names this one, for messages. */
  readonly namedBy: string;
  /** How many indexes there are above it, the archive's own not counted. */
  readonly depth: number;
}

class ClosureCheck {
  /** Digests of the manifests that indexes name. */
  readonly parts = new Set<string>();
  /** The digest of the root that is being checked. */
  root = "";
  readonly #options: ClosureOptions;
  /** What has been visited, undefined where it is nowhere: an index can name the same manifest in a million ways. */
  readonly #visited = new Map<string, Visited | undefined>();
  readonly #sizes = new Map<string, number | undefined>();
  /** By root: an image can have many names. */
  readonly #listed = new Map<string, readonly Descriptor[]>();
  #absent = 0;

  constructor(options: ClosureOptions) {
    this.#options = options;
  }

  /** Checks a manifest or an index and all below it; undefined if it is nowhere. */
  async visit(descriptor: Descriptor, visit: Visit): Promise<Visited | undefined> {
    const { digest } = descriptor;
    if (!this.#visited.has(digest)) this.#visited.set(digest, await this.#tryVisit(descriptor, visit));
    const visited = this.#visited.get(digest);
    if (visited !== undefined) this.#checkSize(descriptor, visited.size, visit.namedBy);
    return visited;
  }

  /** Throws the problem, or tells of it where all problems are wanted. */
  fail(problem: StowageError): void {
    if (this.#options.onProblem === undefined) throw problem;
    this.#options.onProblem(problem);
  }

  /** The manifests that are missing from a root, each once. */
  absentFrom(root: string): readonly Descriptor[] {
    const listed = this.#listed.get(root) ?? this.#listAbsent(root);
    this.#listed.set(root, listed);
    return listed;
  }

  #listAbsent(root: string): readonly Descriptor[] {
    const absent = new Map<string, Descriptor>();
    const indexes = new Set([root]); // grows while it is gone through
    for (const digest of indexes) {
      const { sparse } = this.#visited.get(digest) ?? { sparse: complete };
      for (const child of sparse.absent) {
        if (absent.size === maxListedAbsent) return [...absent.values()];
        absent.set(child.digest, child);
      }
      for (const index of sparse.indexes) indexes.add(index);
    }
    return [...absent.values()];
  }

  /** One that is there and cannot be read counts as there, where all problems are wanted: its own has been told. */
  async #tryVisit(descriptor: Descriptor, visit: Visit): Promise<Visited | undefined> {
    try {
      return await this.#visitOnce(descriptor, visit);
    } catch (error) {
      if (!(error instanceof StowageError) || endsTheCheck.has(error.code)) throw error;
      this.fail(error);
      return { ...descriptor, subject: undefined, sparse: complete };
    }
  }

  async #visitOnce(descriptor: Descriptor, { namedBy, depth }: Visit): Promise<Visited | undefined> {
    const { digest, size } = descriptor;
    const { parsed } = this.#options;
    this.#checkManifestBytes(descriptor, namedBy);
    await parsed.keep(size);
    const manifest = await this.#read(descriptor, namedBy);
    if (manifest === undefined) {
      parsed.drop(size);
      return undefined;
    }
    await this.#storeInlined(manifest);
    await this.#checkBlobs(manifest.blobs, digest);
    const isIndex = manifest.kind === "index";
    const sparse = isIndex ? await this.#checkChildren(manifest, { namedBy: digest, depth: depth + 1 }) : complete;
    if (sparse === complete) parsed.drop(size); // of one that lacks manifests those are kept
    return this.#note(digest, manifest, sparse);
  }

  #note(digest: string, { mediaType, size, subject, artifactType }: ReadManifest, sparse: Sparse): Visited {
    this.#options.manifests?.add(digest);
    if (subject !== undefined) this.#options.referrers?.add({ mediaType, size, digest, artifactType, subject });
    return { mediaType, size, subject, sparse };
  }

  async #checkChildren({ children, blobs }: ReadManifest, visit: Visit): Promise<Sparse> {
    const { maxIndexDepth } = this.#options.limits;
    if (visit.depth > maxIndexDepth) {
      throw new StowageError(
        "LIMIT_EXCEEDED",
        `Cannot take index "${visit.namedBy}": indexes are nested more than ${maxIndexDepth} deep (maxIndexDepth)`,
        { detail: { limit: "maxIndexDepth", expected: maxIndexDepth } },
      );
    }
    await this.#lookAhead(children, visit);
    const absent = new Map<string, Descriptor>();
    const indexes = new Set<string>();
    let isAnyPresent = blobs.length > 0;
    for (const child of children) {
      const visited = await this.visit(child, visit);
      this.parts.add(child.digest);
      this.#options.referrers?.addPart(visit.namedBy, child.digest);
      if (visited === undefined && ++this.#absent > maxAbsent) throw tooManyAbsent();
      if (visited === undefined) absent.set(child.digest, child);
      else if (visited.sparse !== complete) indexes.add(child.digest);
      isAnyPresent ||= visited !== undefined;
    }
    const [first] = absent.values();
    if (first !== undefined && !isAnyPresent) this.fail(missing(first, visit.namedBy));
    return absent.size + indexes.size === 0 ? complete : { absent: [...absent.values()], indexes: [...indexes] };
  }

  async #storeInlined({ inlined }: ReadManifest): Promise<void> {
    const { known, storeBlob } = this.#options;
    for (const { digest, bytes } of inlined) {
      if (known.sizeOf(digest) === undefined) await storeBlob?.(bytes, digest);
    }
  }

  #noteOwner(config: string): void {
    const owners = this.#options.configOwners;
    if (owners?.has(config) === true && owners.get(config) === undefined) owners.set(config, this.root);
  }

  /** Visits many children at the same time: each small manifest, and each that is nowhere. The others are left for later. */
  async #lookAhead(children: DescriptorList, visit: Visit): Promise<void> {
    let absent = this.#absent;
    // Where all problems are wanted each child's own are told in its turn.
    if (children.length < 2 || this.#options.onProblem !== undefined) return;
    await concurrently(children, maxConcurrentRequests, async (child) => {
      const { digest } = child;
      if (this.#visited.has(digest)) return;
      this.#checkManifestBytes(child, visit.namedBy);
      const isSmall = child.size <= maxConcurrentBytes && !isIndexType(child.mediaType);
      const manifest = isSmall ? await this.#read(child, visit.namedBy) : undefined;
      const isAbsent = isSmall ? manifest === undefined : (await this.#sizeOf(digest)) === undefined;
      if (isAbsent && ++absent > maxAbsent) throw tooManyAbsent();
      if (isAbsent) this.#visited.set(digest, undefined);
      if (manifest?.kind !== "manifest") return;
      await this.#storeInlined(manifest);
      await this.#checkBlobs(manifest.blobs, digest);
      this.#visited.set(digest, this.#note(digest, manifest, complete));
    });
  }

  async #checkBlobs(blobs: DescriptorList, namedBy: string): Promise<void> {
    await concurrently(blobs, maxConcurrentRequests, async (blob) => {
      this.#checkSize(blob, await this.#sizeOf(blob.digest), namedBy);
    });
  }

  async #sizeOf(digest: string): Promise<number | undefined> {
    const before = this.#options.known.sizeOf(digest) ?? this.#sizes.get(digest);
    if (before !== undefined) return before;
    this.#checkUsable(digest);
    const { store, signal, parsed } = this.#options;
    const size = (await parsed.ask(async () => store.head(blobKey(digest), { signal })))?.size;
    this.#sizes.set(digest, size);
    return size;
  }

  /** Whether the store has the blob makes no difference: the same tarball gets the same answer. */
  #checkUsable(digest: string): void {
    const error = this.#options.known.unusable?.(digest);
    if (error !== undefined) throw error;
  }

  #checkSize(blob: NamedBlob, found: number | undefined, namedBy: string): void {
    if (found === undefined) this.fail(missing(blob, namedBy));
    else if (found !== blob.size) this.fail(wrongSize(blob, found, namedBy));
  }

  #checkManifestBytes({ digest, size }: Descriptor, namedBy: string): void {
    const { maxManifestBytes } = this.#options.limits;
    if (size <= maxManifestBytes) return;
    throw new StowageError(
      "LIMIT_EXCEEDED",
      `Cannot take "${namedBy}": it names the manifest "${digest}" with ${size} bytes, ` +
        `at most ${maxManifestBytes} are allowed (maxManifestBytes)`,
      { detail: { limit: "maxManifestBytes", digest, found: size, expected: maxManifestBytes } },
    );
  }

  /** Reads and parses a manifest, and keeps little of it; undefined if it is nowhere. */
  async #read(descriptor: Descriptor, namedBy: string): Promise<ReadManifest | undefined> {
    const { digest, mediaType, size } = descriptor;
    const { parsed, known } = this.#options;
    return parsed.parse(size, async () => {
      const bytes = await this.#readBytes(descriptor, namedBy);
      if (bytes === undefined) return undefined;
      this.#checkSize(descriptor, bytes.length, namedBy);
      const manifest = parseManifest(bytes, digest, mediaType);
      const inlined = await checkData(bytes, digest);
      if (manifest.kind === "manifest") this.#noteOwner(manifest.blobs[0]?.digest ?? "");
      const [children, blobs] = manifest.kind === "index" ? partition(manifest.manifests) : [[], manifest.blobs];
      const needed = blobs.filter((blob) => !isForeign(blob) || known.sizeOf(blob.digest) !== undefined);
      return {
        kind: manifest.kind,
        mediaType: manifest.mediaType,
        size: bytes.length,
        subject: manifest.subject?.digest,
        artifactType: manifest.artifactType,
        inlined,
        blobs: new DescriptorList(needed),
        children: new DescriptorList(children),
      };
    });
  }

  async #readBytes({ digest, size }: Descriptor, namedBy: string): Promise<Uint8Array | undefined> {
    const { store, signal, limits, known, parsed } = this.#options;
    const brought = known.sizeOf(digest);
    if (brought !== undefined) this.#checkSize({ digest, size }, brought, namedBy);
    const kept = known.manifest(digest);
    if (kept !== undefined) return kept;
    if (brought === undefined) this.#checkUsable(digest);
    const options = { maxBytes: limits.maxManifestBytes, signal };
    return parsed.ask(async () => readSmallBlob(store, digest, options));
  }
}

/** These are not about what the archive or the store holds. */
const endsTheCheck: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["STORE_UNAVAILABLE", "INTERRUPTED"]);

function wrongSize({ digest, size }: NamedBlob, found: number, namedBy: string): StowageError {
  return new StowageError(
    "SIZE_INVALID",
    `Cannot take "${namedBy}": it names "${digest}" with ${size} bytes, which has ${found}`,
    {
      detail: { digest, found, expected: size },
    },
  );
}

/** Manifests, and what else an index names. */
function partition(named: readonly Descriptor[]): readonly [children: Descriptor[], blobs: Descriptor[]] {
  const isChild = ({ mediaType }: Descriptor): boolean => isManifestType(mediaType);
  return [named.filter(isChild), named.filter((descriptor) => !isChild(descriptor))];
}

function tooManyAbsent(): StowageError {
  const message = `Cannot load the archive: its indexes name more than ${maxAbsent} manifests that are nowhere`;
  return new StowageError("LIMIT_EXCEEDED", message, { detail: { expected: maxAbsent } });
}

function missing({ digest, size }: NamedBlob, namedBy: string): StowageError {
  return new StowageError(
    "MANIFEST_BLOB_UNKNOWN",
    `Cannot publish "${namedBy}": it names "${digest}" (${size} bytes), which is neither in the archive nor in the store`,
    { detail: { digest } },
  );
}
