/**
 * One slice of a run of gc, for platforms that limit the time of a call. The next slice goes on where this one has
 * ended, on any machine. `docs/gc.md` explains why a run may take days.
 */
import { StowageError } from "../errors.ts";
import { isStore } from "../layout/check-store.ts";
import { sweepIntents } from "../layout/update-repository.ts";
import { skewMs } from "../layout/marks.ts";
import type { Layout } from "../layout/layout.ts";
import { sweepStaging } from "../layout/sweep-staging.ts";
import { CountingStore } from "../storage/counting-store.ts";
import { type GarbageOptions, type Progress, checkGrace, continueRun, newProgress } from "./collect-garbage.ts";
import { damageCodes } from "./find-needed.ts";
import { type SavedRun, readRun, saveRun } from "./saved-run.ts";
import { type GarbageReport, Tally } from "./tally.ts";

const dayMs = 24 * 60 * 60 * 1000;
/** An older run knows little of what is needed now, and would condemn very many blobs for nothing. */
const maxRunMs = 7 * dayMs;

/** When a slice ends, and how its run collects garbage. */
export interface SliceOptions extends Pick<GarbageOptions, "signal" | "retention" | "onVerdict"> {
  readonly graceMs: number;
  /** A run begins this long after the last one began. With 0 it begins at once. */
  readonly everyMs: number;
  /** The slice ends after this time. What has been started then is finished. */
  readonly maxMs: number;
  /** The slice ends after this number of requests to the store. Pages of listings are not counted. */
  readonly maxRequests?: number | undefined;
}

/** The outcomes of one slice. */
export interface SliceReport extends GarbageReport {
  /**
   * `unfinished`: the next slice goes on with this run. `idle`: it is too early for a new run, or there is no store
   * yet.
   */
  readonly state: "finished" | "unfinished" | "idle";
}

/**
 * Goes on with the last run if it is not finished, or begins a run. If it is too early for a new run, this costs one
 * GET. Throws what `collectGarbage` throws. After `STORE_DAMAGED` or `LIMIT_EXCEEDED` the run is over. After any other
 * error, the next slice goes on where this slice began.
 */
export async function collectSlice(layout: Layout, options: SliceOptions): Promise<SliceReport> {
  const { graceMs, everyMs, maxMs, maxRequests = Infinity, retention = [], onVerdict, signal } = options;
  checkGrace(graceMs);
  const { clock } = layout;
  const store = new CountingStore(layout.store);
  const started = clock.now();
  const isSliceOver = (): boolean => clock.now() - started >= maxMs || store.total >= maxRequests;

  const { run, problem, etag } = await readRun(store, signal);
  const tally = new Tally();
  if (problem !== undefined) tally.tell(problem);
  const progress = chooseRun(run, { now: started, everyMs, tally });
  // Nothing is written to a place that may be wrong.
  if (progress === undefined || (run === undefined && !(await isStore(store, { signal })))) {
    return { ...tally.report(), state: "idle" };
  }
  const { began } = progress;
  try {
    const plan = { graceMs, isDryRun: false, force: false, tally, retention, onVerdict, isSliceOver, signal };
    const isFinished = await continueRun(layout.through(store), progress, plan);
    if (isFinished) {
      await sweepIntents(layout, signal);
      await sweepStaging(layout, { isDryRun: false, signal, onDelete: (bytes) => tally.count("abandoned", bytes) });
    }
    await saveRun(store, { began, progress: isFinished ? undefined : progress }, etag);
    return { ...tally.report(), state: isFinished ? "finished" : "unfinished" };
  } catch (error) {
    if (error instanceof StowageError && damageCodes.has(error.code)) {
      // the next slice finds the same
      await saveRun(store, { began, progress: undefined }, etag).catch(() => undefined);
    }
    throw error;
  }
}

interface Choice {
  readonly now: number;
  readonly everyMs: number;
  readonly tally: Tally;
}

/** Undefined if it is too early for a new run. */
function chooseRun(run: SavedRun | undefined, { now, everyMs, tally }: Choice): Progress | undefined {
  if (run === undefined) return newProgress(now);
  const ageMs = now - run.began;
  if (run.progress === undefined) return Math.abs(ageMs) < everyMs ? undefined : newProgress(now);
  if (ageMs >= -skewMs && ageMs <= maxRunMs) return run.progress;
  const date = new Date(run.began).toISOString();
  tally.tell(
    `Cannot go on with the run of ${date}, a new run begins: a run in slices may take ${maxRunMs / dayMs} days`,
  );
  return newProgress(now);
}
