/**
 * Deletes the blobs that no image needs, in two runs. The first run condemns them. A run after the grace time deletes
 * the blobs that are still not needed. Any number of runs and loads may work at the same time: `layout/marks.ts`
 * explains why that is safe. A run also deletes the intents of killed writers, and what has been under `staging/` for
 * days.
 */
import type { Digest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { listBlobs } from "../layout/blobs.ts";
import { listMarks, minGraceMs } from "../layout/marks.ts";
import type { Layout } from "../layout/layout.ts";
import { sweepIntents } from "../layout/update-repository.ts";
import { sweepStaging } from "../layout/sweep-staging.ts";
import type { RetentionRule } from "../settings/parse-retention.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { concurrently } from "../streams/concurrently.ts";
import { type Search, findNeeded, newSearch, orphansOf } from "./find-needed.ts";
import { type Candidate, type GcRun, BlobSweep } from "./blob-sweep.ts";
import type { Verdict } from "./judge-entries.ts";
import type { RetentionRun } from "./repository-retention.ts";
import { type GarbageReport, Tally } from "./tally.ts";

/** One day. Loads take less, and a user has time to notice that an image was removed by mistake. */
const defaultGraceMs = 24 * 60 * 60 * 1000;
/** At most this many damaged manifests are named. */
const maxNamed = 10;
/** Blobs that are handled at the same time. */
const maxConcurrentBlobs = 32;

/** How garbage is collected. */
export interface GarbageOptions {
  /** How long a blob stays condemned before it is deleted, in milliseconds; at least an hour. */
  readonly graceMs?: number | undefined;
  /**
   * Goes on if a manifest is missing or damaged. The blobs that only this manifest needs are then garbage. They are
   * kept if the manifest is repaired within the grace time.
   */
  readonly force?: boolean | undefined;
  /**
   * Deletes at once, without a grace time and without marks. Only for a store that is not in use: a load at the same
   * time would lose blobs.
   */
  readonly now?: boolean | undefined;
  /** Changes nothing. The report says what a run would do. */
  readonly isDryRun?: boolean | undefined;
  /**
   * Which images are kept, and which are dropped. The first rule that fits decides. Without rules, only images whose
   * end is over are dropped.
   */
  readonly retention?: readonly RetentionRule[] | undefined;
  /** Called for each image that was dropped. In a dry run with rules, called for every image that the rules are for. */
  readonly onVerdict?: ((verdict: Verdict) => void) | undefined;
  /** Ends the run between two blobs. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * One run of `stowage gc`. Repeat it, for example once a day. If an index cannot be read, the report names it, and the
 * run keeps everything that any manifest in the store needs. Throws `STORE_DAMAGED`, before a blob is condemned or
 * deleted, if a manifest is missing or damaged. Throws `LIMIT_EXCEEDED` if there are too many blobs to remember, and
 * `STORE_UNAVAILABLE` if the store fails: the next run continues the work.
 */
export async function collectGarbage(layout: Layout, options: GarbageOptions = {}): Promise<GarbageReport> {
  const { graceMs = defaultGraceMs, isDryRun = false, now = false, force = false } = options;
  const { retention = [], onVerdict, signal } = options;
  if (!now) checkGrace(graceMs);
  const { clock } = layout;
  const tally = new Tally();
  const plan: Plan = { graceMs: now ? undefined : graceMs, isDryRun, tally, force, retention, onVerdict, signal };
  await continueRun(layout, newProgress(clock.now()), plan);
  // The first pass removed referrers, and the second deletes their blobs. One pass removes a referrer and the referrers
  // of it.
  if (now && !isDryRun && tally.report().removed.blobs > 0) await continueRun(layout, newProgress(clock.now()), plan);
  if (!isDryRun) await sweepIntents(layout, signal);
  await sweepStaging(layout, { isDryRun, signal, onDelete: (bytes) => tally.count("abandoned", bytes) });
  return tally.report();
}

/** Throws `INPUT_INVALID` if the grace time in milliseconds is so short that a load could lose a blob. */
export function checkGrace(graceMs: number): void {
  if (graceMs >= minGraceMs) return;
  const [found, expected] = [graceMs, minGraceMs].map((ms) => `${ms / 60_000} min`);
  const message = `Cannot collect garbage with a grace time of ${found}: at least ${expected} are needed, so that no load loses a blob`;
  throw new StowageError("INPUT_INVALID", message, { detail: { found: graceMs, expected: minGraceMs } });
}

/** How far a run has come. */
export interface Progress {
  /**
   * When the run began. The age of a mark is its age at this time, not now: the needed blobs were found after this
   * time.
   */
  readonly began: number;
  readonly search: Search;
  /** Is it known what is needed? Then the run judges blobs. */
  isSearchDone: boolean;
  /** The rank of the last blob that was judged. Empty at first. */
  lastRank: string;
}

export function newProgress(began: number): Progress {
  return { began, search: newSearch(), isSearchDone: false, lastRank: "" };
}

export interface Plan extends Omit<GcRun, "began">, Pick<RetentionRun, "onVerdict"> {
  readonly retention: readonly RetentionRule[];
  readonly force: boolean;
  /** Is the slice over? Undefined for a whole run. */
  readonly isSliceOver?: (() => boolean) | undefined;
}

/** Goes on with a run, to its end or to the end of the slice. Returns whether the run is done. */
export async function continueRun(layout: Layout, progress: Progress, plan: Plan): Promise<boolean> {
  const { force, isSliceOver, signal, retention: rules, isDryRun, tally, onVerdict } = plan;
  const { began, search } = progress;
  if (!progress.isSearchDone) {
    const retention = { rules, began, isDryRun, tally, onVerdict };
    const end = { isSliceOver, signal };
    const { isDone, damagedManifests, damagedIndexes } = await findNeeded(layout, search, { ...end, retention });
    if (!force && damagedManifests.length > 0) throw cannotTell(damagedManifests);
    for (const { message } of [...damagedManifests, ...damagedIndexes]) tally.tell(message);
    if (!isDone) return false;
    progress.isSearchDone = true;
  }
  const candidates = await findCandidates(layout.store, progress, plan);
  const blobs = new BlobSweep(layout, { ...plan, began });
  const untilOver = takeCandidates(candidates, progress, isSliceOver);
  await concurrently(untilOver, maxConcurrentBlobs, async (candidate) => blobs.sweep(candidate));
  const last = candidates.at(-1);
  return last === undefined || rankOf(last) === progress.lastRank;
}

function cannotTell(damaged: readonly StowageError[]): StowageError {
  const named = damaged.slice(0, maxNamed).map(({ message }) => message);
  if (damaged.length > maxNamed) named.push(`${damaged.length - maxNamed} more`);
  const message =
    `${named.join("; ")}; no blob was deleted: repair the image (\`stowage load --repair\`) or remove it ` +
    "(`stowage verify` names it), or go on with `stowage gc --force`";
  return new StowageError("STORE_DAMAGED", message, { detail: damaged[0]?.detail ?? {} });
}

/** Marks that one run looks at, old and new together. The others wait for the next run. */
const maxMarks = 100_000;

/** The blobs that are not needed or have a mark, and the marks without a blob, in the order of their ranks. */
async function findCandidates(
  store: ObjectStore,
  { search, lastRank }: Progress,
  { tally, signal }: Plan,
): Promise<Candidate[]> {
  const marked = await listMarks(store, maxMarks, signal);
  const orphans = orphansOf(search);
  const candidates: Candidate[] = [];
  const unseen = new Set(marked);
  let marksLeft = maxMarks - marked.size;
  const add = (digest: Digest, size: number): void => {
    const orphanIn = orphans.get(digest);
    const isNeeded = orphanIn === undefined && search.needed.has(digest);
    const candidate = { digest, size, isMarked: marked.has(digest), isNeeded, orphanIn };
    if ((!candidate.isMarked && isNeeded) || rankOf(candidate) <= lastRank) return;
    if (!candidate.isMarked && --marksLeft < 0) tally.count("postponed", size);
    else candidates.push(candidate);
  };
  for await (const { digest, size } of listBlobs(store, { signal })) {
    unseen.delete(digest);
    add(digest, size);
  }
  for (const digest of unseen) add(digest, 0);
  return candidates.toSorted((a, b) => Number(b.isMarked) - Number(a.isMarked) || (a.digest < b.digest ? -1 : 1));
}

/** Blobs with a mark come first: on a full disk, their deletion makes room for new marks. */
function rankOf({ isMarked, digest }: Candidate): string {
  return `${isMarked ? 1 : 2} ${digest}`;
}

/** Yields candidates until the slice is over, at least one. */
function* takeCandidates(
  candidates: readonly Candidate[],
  progress: Progress,
  isSliceOver: Plan["isSliceOver"],
): Generator<Candidate> {
  for (const candidate of candidates) {
    progress.lastRank = rankOf(candidate);
    yield candidate;
    if (isSliceOver?.() === true) return;
  }
}
