/**
 * Loads, copies, pushes, removals and gcs under many schedules. A failure prints its seed and what happened: `STOWAGE_TEST_SEED=<seed>` runs
 * that one again, and those after it; `STOWAGE_TEST_RUNS=10000` runs more of them.
 */
import process from "node:process";
import { describe, expect, it } from "vitest";
import {
  compileProtocol,
  mutants,
  mutantsOfCopies,
  mutantsOfPushes,
  mutantsOfRetention,
  mutantsOfSlices,
} from "./protocol.ts";
import { type Protocol, type Setting, simulate } from "./simulate.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 300);
/** The rarest of the mutants shows once in some three hundred schedules. */
const maxMutantRuns = 3000;
const seed = process.env["STOWAGE_TEST_SEED"] ?? "1";
/** The same ones each time, unless others are asked for: `random`, or the seed of a failure. */
const firstSeed = seed === "random" ? Math.floor(Math.random() * 2 ** 31) : Number(seed);
const timeout = 60_000 + runs * 200;

interface Found {
  /** What went wrong first, if anything did. */
  readonly problem: string | undefined;
  readonly sights: ReadonlySet<string>;
}

/** `wanted`: goes on until a problem has this text. */
async function search(protocol: Protocol, schedules: number, setting: Setting, wanted = ""): Promise<Found> {
  const sights = new Set<string>();
  for (let i = firstSeed; i < firstSeed + schedules; i++) {
    const result = await simulate(i, protocol, setting);
    for (const sight of result.sights) sights.add(sight);
    const problems = result.problems.filter((problem) => problem.includes(wanted));
    if (problems.length === 0) continue;
    return { problem: `seed ${i}\n${problems.join("\n")}\n${result.trace}`, sights };
  }
  return { problem: undefined, sights };
}

describe.each([
  ["loads", runs, mutants],
  ["copies", Math.ceil(runs / 5), mutantsOfCopies],
  ["pushes", Math.ceil(runs / 3), mutantsOfPushes],
  ["slices", runs, mutantsOfSlices],
  ["retention", Math.ceil(runs / 3), mutantsOfRetention],
] as const)("collectGarbage, with %s", (setting, schedules, wrong) => {
  it("leaves every image whole, and in the end nothing else", { timeout }, async () => {
    const { problem, sights } = await search(await compileProtocol(), schedules, setting);
    expect(problem).toBeUndefined();
    if (schedules >= 50) expect([...sights]).toEqual(expect.arrayContaining([...expectedSights[setting]]));
  });

  it.each(Object.entries(wrong))("would not if %s", { timeout: 300_000 }, async (_, edits) => {
    const { problem } = await search(await compileProtocol(edits), maxMutantRuns, setting, " has lost ");
    expect(problem).toMatch(/^seed \d+\n.* has lost /);
  });
});

const sightsOfGc = [
  "a gc: condemned",
  "a gc: freed",
  "a gc: kept",
  "a gc: undecided",
  "a gc: removed",
  "a gc: waiting",
] as const;

/** Schedules that never come to these show little. */
const expectedSights = {
  loads: [
    ...sightsOfGc,
    "a load found a blob present",
    "a load found a blob written",
    "a load looked twice",
    "failed: MANIFEST_BLOB_UNKNOWN",
    "failed: STORE_UNAVAILABLE",
  ],
  slices: [...sightsOfGc, "a slice: finished", "a slice: unfinished", "a slice: idle", "failed: STORE_UNAVAILABLE"],
  retention: [...sightsOfGc, "a gc: dropped", "a slice: finished", "a push ended well"],
  copies: [
    ...sightsOfGc,
    "a copy: created",
    "a copy: unchanged",
    "a copy moved a part",
    "a copy failed: STORE_UNAVAILABLE",
  ],
  pushes: [
    ...sightsOfGc,
    "a push found a blob",
    "a push mounted a blob",
    "a push sent a blob, whole",
    "a push sent a blob, closed",
    "a push sent a blob, streamed",
    "a push sent a blob, chunked",
    "a push failed: no answer",
    "a push failed: MANIFEST_BLOB_UNKNOWN",
    "a push failed: STORE_UNAVAILABLE",
    "a push was killed",
    "a push ended well",
    "a push that was told what is lost ended well",
  ],
} as const;
