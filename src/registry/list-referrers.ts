/**
 * Lists the referrers of a manifest: its signatures, attestations and the like. A client that does not use the
 * referrers API keeps its referrers in an index of its own, under a tag ("Referrers Tag Schema"). The referrers in that
 * index are listed too.
 */
import { Buffer } from "node:buffer";
import { isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import { readManifest } from "../layout/read-manifest.ts";
import { readEntries } from "../layout/read-repository.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Manifest } from "../oci/manifest.ts";
import { referrersTag, subjectOf, tagOf } from "../oci/index-entry.ts";
import { smallObjectBytes } from "../storage/read-small-object.ts";
import type { Requester } from "../streams/byte-budget.ts";
import { maxTurnWaitMs } from "../streams/line.ts";

/** The most manifests that are read for one page. */
const maxPageEntries = 100;
/**
 * The most bytes of the descriptors on a page. Clients read at most 4 MiB of an answer, which has more than the
 * descriptors.
 */
const maxPageBytes = 4 * 1024 * 1024 - 1024;
/** Bytes of the manifests that are read together; a single manifest may have more. */
const maxBatchBytes = 4 * 1024 * 1024;
const maxConcurrentReads = 8;

/** The referrers that a client wants to see. */
interface WantedReferrers {
  readonly repository: string;
  /** The digest of the manifest that the referrers refer to. */
  readonly subject: string;
  /** Only referrers of this type are listed. */
  readonly artifactType?: string | undefined;
  /** The `end` of the page before. */
  readonly after?: string | undefined;
}

export interface ReferrersPage {
  readonly descriptors: readonly Descriptor[];
  /** Where the page ended, if there are more referrers. */
  readonly end: string | undefined;
}

/**
 * The referrers of a manifest in the order of their digests, each with its type and annotations (distribution
 * specification, "Listing Referrers"). A repository that does not exist has none. The annotations are read from the
 * manifests: a repository's index with all annotations would soon be full. A referrer that only a client's own index
 * names is listed as that index describes it.
 */
export async function listReferrers(
  layout: Layout,
  wanted: WantedReferrers,
  requester: Requester,
): Promise<ReferrersPage> {
  const { repository, subject, artifactType, after } = wanted;
  const all = await readEntries(layout, repository, requester);
  const own = referrersIn(all, subject);
  const known = new Set(own.map(({ digest }) => digest));
  const tagged = (await taggedReferrers(layout, all, subject, requester)).filter(({ digest }) => !known.has(digest));
  const isTagged = new Set(tagged);
  const candidates = inOrder([...own, ...tagged])
    .filter((entry) => artifactType === undefined || (entry.artifactType ?? artifactType) === artifactType)
    .filter(({ digest }) => after === undefined || digest > after);
  const entries = candidates.slice(0, maxPageEntries);
  // A large manifest takes its own memory, and all requests that read it at the same time share it.
  const bytes = entries.reduce((sum, { size }) => sum + (size <= smallObjectBytes ? size : 0), 0);
  const read = async (): Promise<ReferrersPage> =>
    readPage(entries, artifactType, async (entry) =>
      isTagged.has(entry) ? entry : describe(layout, entry, requester),
    );
  const { descriptors, end } = await layout.budget.parse(bytes, read, { ...requester, maxWaitMs: maxTurnWaitMs });
  return { descriptors, end: end ?? (candidates.length > entries.length ? entries.at(-1)?.digest : undefined) };
}

/** `end` is undefined if all entries fit on the page. */
async function readPage(
  entries: readonly Descriptor[],
  artifactType: string | undefined,
  read: (entry: Descriptor) => Promise<Descriptor>,
): Promise<ReferrersPage> {
  const descriptors: Descriptor[] = [];
  let bytes = 0;
  let end: string | undefined;
  for (const batch of batchesOf(entries)) {
    for (const descriptor of await Promise.all(batch.map(read))) {
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

/** The referrers of a subject, each once even if it has several tags. */
function referrersIn(entries: readonly Descriptor[], subject: string): Descriptor[] {
  return distinct(entries.filter((entry) => subjectOf(entry) === subject));
}

/**
 * The referrers in the index that a client keeps under a tag, as descriptors of a list. None if the index cannot be
 * read.
 */
async function taggedReferrers(
  layout: Layout,
  entries: readonly Descriptor[],
  subject: string,
  requester: Requester,
): Promise<readonly Descriptor[]> {
  const tag = isDigest(subject) ? referrersTag(subject) : undefined;
  const index = tag === undefined ? undefined : entries.find((entry) => tagOf(entry) === tag);
  const manifest = index && (await readIfPossible(layout, index, requester));
  if (manifest?.kind !== "index") return [];
  const listed = manifest.manifests.map(({ mediaType, digest, size, artifactType, annotations }) => ({
    mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  }));
  return distinct(listed);
}

function distinct(descriptors: readonly Descriptor[]): Descriptor[] {
  return [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()];
}

function inOrder(descriptors: readonly Descriptor[]): Descriptor[] {
  return descriptors.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** Manifests that are read together. */
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

/** A manifest that cannot be read is listed by its entry in the index: the error comes when a client fetches it. */
async function describe(
  layout: Layout,
  { mediaType, digest, size, artifactType }: Descriptor,
  requester: Requester,
): Promise<Descriptor> {
  const entry = { mediaType, digest, size, ...(artifactType !== undefined && { artifactType }) };
  const manifest = await readIfPossible(layout, entry, requester);
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

async function readIfPossible(layout: Layout, entry: Descriptor, requester: Requester): Promise<Manifest | undefined> {
  const read = async (): ReturnType<typeof readManifest> => readManifest(layout, entry, requester);
  try {
    const found = entry.size > smallObjectBytes ? await read() : await layout.budget.ask(read, requester);
    return found?.manifest;
  } catch (error) {
    if (error instanceof StowageError && !mayBeReadLater.has(error.code)) return undefined;
    throw error;
  }
}

/** Errors that say nothing about the manifest. */
const mayBeReadLater: ReadonlySet<string> = new Set(["STORE_UNAVAILABLE", "TOOMANYREQUESTS"]);
