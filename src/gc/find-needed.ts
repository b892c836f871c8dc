/**
 * Finds every blob that an image needs. The search starts at the indexes of all repositories.
 *
 * A referrer without a tag, such as a signature, is only useful with its subject. It is an orphan if nothing leads to
 * its subject. The blobs of an orphan are needed as long as an index lists the orphan: a published image is always
 * whole.
 */
import type { Digest } from "../digest.ts";
import { type ErrorCode, limitExceeded, StowageError } from "../errors.ts";
import type { Layout } from "../layout/layout.ts";
import { listRepositories } from "../layout/list-repositories.ts";
import { type RepositoryIndex, checkFormat, readRepository } from "../layout/read-repository.ts";
import { listBlobs } from "../layout/blobs.ts";
import type { Descriptor, ManifestIdentity } from "../oci/descriptor.ts";
import { subjectOf } from "../oci/index-entry.ts";
import { DigestSet } from "./digest-set.ts";
import { type RetentionRun, RepositoryRetention } from "./repository-retention.ts";
import { ManifestWalk, type WalkEnd, type WalkState } from "./manifest-walk.ts";

/** The most referrers that no visited manifest leads to so far. */
const maxWaiting = 100_000;
const tooManyReferrers = "Cannot remember all referrers whose subject is gone: there are too many";
/** Blobs that are checked in one batch: is each blob a manifest? */
const batchDigests = 1000;

/** How far a search has come. It can go on in another process, with the indexes as they are then. */
export interface Search extends WalkState {
  /** The last repository that was searched to its end. The names before it were searched too. Empty at first. */
  searched: string;
  /** Referrers that no visited manifest leads to so far. They are orphans once all repositories were searched. */
  waiting: UntaggedReferrer[];
  /** Were all repositories searched? Then `waiting` has the orphans. */
  areAllSearched: boolean;
}

/** An index entry with a subject and without a tag. */
export interface UntaggedReferrer {
  readonly repository: string;
  readonly entry: ManifestIdentity;
  readonly subject: Digest;
}

export function newSearch(): Search {
  return { needed: new DigestSet(), read: [], pending: [], searched: "", waiting: [], areAllSearched: false };
}

interface Findings {
  /** False if the slice is over, and the search is not. */
  readonly isDone: boolean;
  /** Problems of damaged manifests. Each of these manifests may need any blob. */
  readonly damagedManifests: readonly StowageError[];
  /** Problems of indexes that cannot be read. They may name any manifest, so all manifests in the store are needed. */
  readonly damagedIndexes: readonly StowageError[];
}

/**
 * Starts a search, or goes on with one. Throws `LIMIT_EXCEEDED` if there are too many blobs to remember,
 * `STORE_UNAVAILABLE`, and the errors of `checkFormat`. A search in slices throws `STORE_DAMAGED` for an index that
 * cannot be read.
 */
export async function findNeeded(
  layout: Layout,
  search: Search,
  { retention, ...end }: WalkEnd & { readonly retention: RetentionRun },
): Promise<Findings> {
  const walk = new ManifestWalk(layout, search, end);
  const damagedIndexes: StowageError[] = [];
  await walk.visitPending({ withSubjects: !search.areAllSearched });
  if (!walk.hasStopped && !search.areAllSearched) {
    await searchRepositories(layout, search, { walk, damagedIndexes, end, retention });
  }
  if (search.areAllSearched) {
    await walk.visit(
      search.waiting.map(({ entry }) => entry),
      { withSubjects: false },
    );
  }
  const isDone = !walk.hasStopped;
  if (isDone) search.read = [];
  return { isDone, damagedManifests: [...walk.damaged.values()], damagedIndexes };
}

interface RepositorySearch {
  readonly retention: RetentionRun;
  readonly walk: ManifestWalk;
  readonly damagedIndexes: StowageError[];
  readonly end: WalkEnd;
}

async function searchRepositories(
  layout: Layout,
  search: Search,
  { walk, damagedIndexes, end: { isSliceOver, signal }, retention }: RepositorySearch,
): Promise<void> {
  for (const repository of await listRepositories(layout, { signal })) {
    if (repository <= search.searched) continue;
    const index = await readIfIntact(layout, repository, signal);
    if (index instanceof StowageError) {
      if (isSliceOver !== undefined) throw needsWholeRun(index);
      damagedIndexes.push(index);
      continue;
    }
    checkFormat(index, repository); // an index of a later format may need more than this version knows
    const images = new RepositoryRetention(layout, repository, index.entries, retention);
    await walk.visit(images.kept);
    const referrers = images.referrers.flatMap((entry) => referrersIn(entry, repository));
    let left = await visitReferrers(referrers, walk);
    if (walk.hasStopped) return; // it is not known yet what kept images need
    const stays = await images.drop((digest) => walk.damaged.size > 0 || walk.needed.has(digest));
    await walk.visit(stays);
    left = await visitReferrers(left, walk);
    if (walk.hasStopped) return;
    for (const referrer of left) search.waiting.push(referrer); // a manifest of another repository may lead to it
    if (search.waiting.length > maxWaiting) throw limitExceeded(tooManyReferrers, { expected: maxWaiting });
    search.searched = repository;
    search.read = [];
    walk.stopIfSliceIsOver();
    if (walk.hasStopped) return;
  }
  if (damagedIndexes.length > 0) await visitAllManifests(layout, walk, signal);
  const orphans = await visitReferrers(search.waiting, walk);
  if (walk.hasStopped) return;
  search.waiting = orphans;
  search.areAllSearched = true;
}

/** Without its index a repository may need any manifest. To read all of them is no work for slices. */
function needsWholeRun(cause: StowageError): StowageError {
  const message = `${cause.message}; nothing was deleted: repair it, or run \`stowage gc\` without a limit of its time`;
  return new StowageError("STORE_DAMAGED", message, { cause, detail: cause.detail ?? {} });
}

async function readIfIntact(
  layout: Layout,
  repository: string,
  signal: AbortSignal | undefined,
): Promise<RepositoryIndex | StowageError> {
  try {
    return await readRepository(layout, repository, { signal });
  } catch (error) {
    if (error instanceof StowageError && damageCodes.has(error.code)) return error;
    throw error;
  }
}

/** Errors that another try meets again. */
export const damageCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["STORE_DAMAGED", "LIMIT_EXCEEDED"]);

async function visitAllManifests(
  { store, limits }: Layout,
  walk: ManifestWalk,
  signal: AbortSignal | undefined,
): Promise<void> {
  let batch: Digest[] = [];
  for await (const { digest, size } of listBlobs(store, { signal })) {
    if (size > limits.maxManifestBytes || walk.needed.has(digest)) continue;
    batch.push(digest);
    if (batch.length < batchDigests) continue;
    await walk.visitManifestsAmong(batch);
    batch = [];
  }
  await walk.visitManifestsAmong(batch);
}

function referrersIn(entry: Descriptor, repository: string): UntaggedReferrer[] {
  const subject = subjectOf(entry);
  const { mediaType, digest, size } = entry;
  return subject === undefined ? [] : [{ repository, entry: { mediaType, digest, size }, subject }];
}

/** Visits the referrers of needed subjects, then the referrers of those, and so on. Returns all others. */
async function visitReferrers(referrers: UntaggedReferrer[], walk: ManifestWalk): Promise<UntaggedReferrer[]> {
  const isLedTo = ({ entry, subject }: UntaggedReferrer): boolean =>
    walk.needed.has(subject) || walk.needed.has(entry.digest);
  const ledTo = new Set(referrers.filter(isLedTo)); // computed before the visits: they add to `walk.needed`
  if (ledTo.size === 0) return referrers;
  await walk.visit([...ledTo].map(({ entry }) => entry));
  return visitReferrers(
    referrers.filter((referrer) => !ledTo.has(referrer)),
    walk,
  );
}

/** By the digest of an orphan: the repositories whose indexes list it. */
export function orphansOf({ waiting }: Search): ReadonlyMap<string, readonly string[]> {
  const byDigest = new Map<Digest, string[]>();
  for (const { repository, entry } of waiting) {
    byDigest.set(entry.digest, [...(byDigest.get(entry.digest) ?? []), repository]);
  }
  return byDigest;
}
