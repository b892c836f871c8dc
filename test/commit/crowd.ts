/** Many writers of one repository in virtual time, on a store that always answers: how fast they are together. */
import { StowageError } from "../../src/errors.ts";
import { commitChanges } from "../../src/layout/index/commit-changes.ts";
import { type RepositoryIndex, emptyIndex, parseRepositoryIndex } from "../../src/layout/index/repository-index.ts";
import { indexKey, intentsPrefix } from "../../src/layout/keys.ts";
import type { ChangeSetOutcome } from "../../src/oci/index-change.ts";
import type { Course } from "./course.ts";
import { numberedDigest, setTag } from "./scenario.ts";
import { Scheduler, seededRandom, simulatedClock } from "./scheduler.ts";
import { SimulatedBucket, SimulatedStore } from "./simulated-store.ts";

export interface CrowdOptions {
  /** When each writer starts, in milliseconds. */
  readonly startsMs: readonly number[];
  readonly seed: number;
  /** The tag that all of them set. Without it each sets a tag of its own. */
  readonly tag?: string;
  /** Places of writers who die with their request of this number, from 1 on. */
  readonly deaths?: ReadonlyMap<number, number>;
}

/** What one writer did. */
export interface WriterReport {
  readonly tookMs: number;
  readonly outcomes: readonly ChangeSetOutcome[];
  /** How often it looked at the index, and tried to write it. */
  readonly looks: number;
  readonly writes: number;
  readonly requests: number;
}

export interface CrowdReport {
  /** Of those who live. */
  readonly writers: readonly WriterReport[];
  readonly index: RepositoryIndex;
  readonly intents: number;
  /** From the first start to the last end. */
  readonly tookMs: number;
}

const repository = "images";
/** A request takes so long, there and back. */
const shortestMs = 30;
const longestMs = 60;

export async function runCrowd({ startsMs, seed, tag, deaths = new Map() }: CrowdOptions): Promise<CrowdReport> {
  const scheduler = new Scheduler();
  const bucket = new SimulatedBucket();
  const random = seededRandom(seed);
  const writers: WriterReport[] = [];
  const problems: unknown[] = [];

  for (const [place, startMs] of startsMs.entries()) {
    const courseOf = (): Course => courseOfCrowd(random(), store.sent.length + 1 === deaths.get(place));
    const store = new SimulatedStore({ bucket, scheduler, courseOf, StowageError, sender: `w${place}` });
    const clock = simulatedClock({ scheduler, skewMs: 0, random });
    const write = async (): Promise<void> => {
      const beganMs = scheduler.elapsedMs;
      const sets = [{ changes: [setTag(tag ?? `tag-${place}`, numberedDigest(place + 1))] }];
      const outcomes = await commitChanges(repository, sets, { store, clock });
      writers.push({ outcomes, tookMs: scheduler.elapsedMs - beganMs, ...countRequests(store.sent) });
    };
    scheduler.after(startMs, () => void write().catch((error: unknown) => problems.push(error)));
  }
  await scheduler.run();
  if (problems.length > 0) throw new AggregateError(problems, `${problems.length} writers failed`);
  const found = bucket.objects.get(indexKey(repository));
  return {
    writers,
    index: found === undefined ? emptyIndex : parseRepositoryIndex(found.bytes, "index.json"),
    intents: bucket.list(intentsPrefix(repository)).length,
    tookMs: scheduler.elapsedMs,
  };
}

function courseOfCrowd(random: number, isLast: boolean): Course {
  const answerMs = shortestMs + random * (longestMs - shortestMs);
  const effectsMs = [answerMs / 2];
  return { effectsMs, answerMs: isLast ? undefined : answerMs, answer: "first", isLast };
}

function countRequests(sent: readonly string[]): Pick<WriterReport, "looks" | "writes" | "requests"> {
  const count = (request: string): number => sent.filter((it) => it === request).length;
  return { looks: count("GET index.json"), writes: count("PUT index.json"), requests: sent.length };
}
