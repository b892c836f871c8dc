/** What a repository has to say about a manifest: its signatures, attestations and the like. */
import { Buffer } from "node:buffer";
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Manifest } from "../oci/manifest.ts";
import { type RepositoryIndex, emptyIndex, subjectOf } from "../oci/repository-index.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { type CallerMemory, smallObjectBytes } from "../storage/read-small-object.ts";
import type { ByteBudget } from "../streams/byte-budget.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import { readManifest } from "./read-manifest.ts";
import { readRepository } from "./read-repository.ts";

/** Manifests that are read for one page. */
const maxPageEntries = 100;
/** Bytes of the descriptors on a page: clients read no more than 4 MiB of an answer, the rest of it included. */
const maxPageBytes = 4 * 1024 * 1024 - 1024;
/** Of the manifests that are read at a time, beside the first of them. */
const maxBatchBytes = 4 * 1024 * 1024;
const maxConcurrentReads = 8;

export interface ListReferrersOptions {
  readonly store: ObjectStore;
  readonly limits: Limits;
  /** Manifests are read at the turn of `caller`: many short requests, each for many manifests, leave room for others. */
  readonly budget: ByteBudget;
  readonly caller: string;
  readonly signal: AbortSignal;
  /** The memory in which large manifests are read, by all requests that want the same one at the same time. */
  readonly memory?: CallerMemory | undefined;
  /** Only those of this type. */
  readonly artifactType?: string | undefined;
  /** The page that follows the one which ended here. */
  readonly after?: string | undefined;
}

export interface ReferrersPage {
  readonly descriptors: readonly Descriptor[];
  /** Where the page ended, if there are more. */
  readonly end: string | undefined;
}

/**
 * The referrers of a manifest in the order of their digests, each with its type and annotations as the distribution
 * specification's "Listing Referrers" asks for. A repository that is not there has none. The manifests are read: an index
 * that held the annotations of each could soon hold no more.
 */
export async function listReferrers(
  repository: string,
  subject: string,
  options: ListReferrersOptions,
): Promise<ReferrersPage> {
  const { artifactType, after, budget, caller, signal } = options;
  const candidates = referrersIn(await readIfThere(repository, options), subject)
    .filter((entry) => artifactType === undefined || (entry.artifactType ?? artifactType) === artifactType)
    .filter(({ digest }) => after === undefined || digest > after);
  const entries = candidates.slice(0, maxPageEntries);
  // Large ones take their memory one by one, and are shared by all who read them at the same time.
  const bytes = entries.reduce((sum, { size }) => sum + (size <= smallObjectBytes ? size : 0), 0);
  const turn = { caller, signal, maxWaitMs: maxTurnWaitMs };
  const { descriptors, end } = await budget.parse(bytes, async () => readPage(entries, options), turn);
  return { descriptors, end: end ?? (candidates.length > entries.length ? entries.at(-1)?.digest : undefined) };
}

/** The end of the page is that of the entries if there is room for all of them on it. */
async function readPage(entries: readonly Descriptor[], options: ListReferrersOptions): Promise<ReferrersPage> {
  const { artifactType } = options;
  const descriptors: Descriptor[] = [];
  let bytes = 0;
  let end: string | undefined;
  for (const batch of batchesOf(entries)) {
    for (const descriptor of await Promise.all(batch.map(async (entry) => describe(entry, options)))) {
      const isWanted = artifactType === undefined || descriptor.artifactType === artifactType;
      if (isWanted) {
        bytes += Buffer.byteLength(JSON.stringify(descriptor)) + 1;
        if (bytes > maxPageBytes && descriptors.length > 0) return { descriptors, end };
        descriptors.push(descriptor);
      }
      end = descriptor.digest;
    }
  }
  return { descriptors, end: undefined };
}

async function readIfThere(
  repository: string,
  { store, budget, caller, signal }: ListReferrersOptions,
): Promise<RepositoryIndex> {
  try {
    return await readRepository(store, repository, { budget, caller, signal });
  } catch (error) {
    if (error instanceof StowageError && error.code === "NAME_UNKNOWN") return emptyIndex;
    throw error;
  }
}

/** Each once, whatever tags it has. */
function referrersIn({ entries }: RepositoryIndex, subject: string): Descriptor[] {
  const found = entries.filter((entry) => subjectOf(entry) === subject);
  return [...new Map(found.map((entry) => [entry.digest, entry])).values()].toSorted((a, b) =>
    a.digest < b.digest ? -1 : 1,
  );
}

/** What is read together. */
function batchesOf(entries: readonly Descriptor[]): Descriptor[][] {
  const batches: Descriptor[][] = [];
  let bytes = Infinity;
  for (const entry of entries) {
    bytes += entry.size;
    const batch = batches.at(-1);
    if (batch !== undefined && bytes <= maxBatchBytes && batch.length < maxConcurrentReads) batch.push(entry);
    else {
      batches.push([entry]);
      bytes = entry.size;
    }
  }
  return batches;
}

/** One that cannot be read is listed by what its entry says: who fetches it is told what is wrong, and who looks sees it. */
async function describe(
  { mediaType, digest, size, artifactType }: Descriptor,
  options: ListReferrersOptions,
): Promise<Descriptor> {
  const entry = { mediaType, digest, size, ...(artifactType !== undefined && { artifactType }) };
  const manifest = await readIfPossible(entry, options);
  if (manifest === undefined) return entry;
  const { annotations } = manifest;
  return {
    mediaType: manifest.mediaType,
    digest,
    size,
    ...(manifest.artifactType !== undefined && { artifactType: manifest.artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
}

async function readIfPossible(
  { digest, mediaType, size }: Descriptor,
  { store, limits, budget, memory, caller, signal }: ListReferrersOptions,
): Promise<Manifest | undefined> {
  const read = async (): ReturnType<typeof readManifest> =>
    readManifest(digest, { store, limits, memory, declaredType: mediaType, signal });
  try {
    const found = size > smallObjectBytes ? await read() : await budget.ask(read, { caller, signal });
    return found?.manifest;
  } catch (error) {
    if (error instanceof StowageError && !mayBeReadLater.has(error.code)) return undefined;
    throw error;
  }
}

/** What is wrong with the moment, and not with the manifest. */
const mayBeReadLater: ReadonlySet<string> = new Set(["STORE_UNAVAILABLE", "TOOMANYREQUESTS"]);
