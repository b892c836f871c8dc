/**
 * The commit protocol under thousands of schedules that fast-check makes. A failure prints its seed and what happened:
 * `STOWAGE_TEST_SEED=<seed>` runs the same ones again, and `STOWAGE_TEST_RUNS=100000` runs more of them.
 */
import process from "node:process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitChanges } from "../../src/layout/index/commit-changes.ts";
import { StowageError } from "../../src/errors.ts";
import type { Edit } from "../support/compile-with.ts";
import {
  compileProtocol,
  mutants,
  mutantsOfTheDead,
  mutantsToAndFro,
  mutantsWithoutGenerations,
  mutantsWithoutGenerationsOutOfStep,
  noRemovals,
  shortMemory,
  singleTry,
  smallMerges,
  withoutGenerations,
} from "./mutants.ts";
import {
  type Scenario,
  arbitraryScenario,
  scenarioOfTheDead,
  scenarioOutOfStep,
  scenarioToAndFro,
} from "./scenario.ts";
import { type Protocol, type SimulationResult, simulate } from "./simulate.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 6000);
/** The same ones each time, unless others are asked for: `random`, or the seed of a failure. */
const seed = process.env["STOWAGE_TEST_SEED"] ?? "1";
const maxMs = 60_000 + runs * 20; // also while a failure is made smaller
const parameters = { numRuns: runs, interruptAfterTimeLimit: maxMs, ...(seed !== "random" && { seed: Number(seed) }) };
const timeout = 2 * maxMs;

/** Throws if any schedule goes wrong. */
async function tryAll(
  protocol: Protocol,
  onResult: (result: SimulationResult) => void,
  scenarios = arbitraryScenario,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(scenarios, async (scenario) => {
      const result = await simulate(scenario, protocol);
      onResult(result);
      if (result.problems.length > 0) throw new Error(`${result.problems.join("\n")}\n${result.trace}`);
    }),
    parameters,
  );
}

/** How many schedules it takes until one goes wrong; undefined if none does. */
async function schedulesUntilCaught(protocol: Protocol, scenarios = arbitraryScenario): Promise<number | undefined> {
  const isRight = async (scenario: Scenario): Promise<boolean> =>
    (await simulate(scenario, protocol)).problems.length === 0;
  const numRuns = Math.max(runs, 30_000); // it ends with the first that goes wrong, most often after a few dozen
  const details = await fc.check(fc.asyncProperty(scenarios, isRight), {
    ...parameters,
    numRuns,
    endOnFailure: true,
  });
  return details.failed ? details.numRuns : undefined;
}

/** What the schedules have to reach, or they would prove little. */
const expectedSights = [
  "alone: changes",
  "alone: refused",
  "alone: unknown",
  "together: changes",
  "together: refused",
  "together: stale",
  "together: expired",
  "together: unknown",
  "killed",
  "left an intent",
  "merged for several",
];

/** Whoever has left an intent is told of it in nearly all of them. */
const rareSight = "together: unknown";

describe("commitChanges, of any schedule", () => {
  it("tells writers what can be true in one order, and leaves nothing behind", { timeout }, async () => {
    const sights = new Map<string, number>();
    await tryAll({ commitChanges, StowageError }, (result) => {
      for (const sight of result.sights) sights.set(sight, (sights.get(sight) ?? 0) + 1);
    });
    for (const sight of expectedSights) {
      const least = runs / (sight === rareSight ? 2000 : 500);
      expect(sights.get(sight), sight).toBeGreaterThan(least);
    }
  });

  it.each([
    ["its memory is short and its merges are small", [shortMemory, smallMerges]],
    ["an intent is sent only once", [singleTry]],
    ["no removal is remembered", [noRemovals]],
  ])("does so too where %s", { timeout }, async (_, edits) => {
    await tryAll(await compileProtocol(edits), () => undefined);
  });

  it("does so too where clocks differ while many race on a store that fails often", { timeout }, async () => {
    await tryAll({ commitChanges, StowageError }, () => undefined, scenarioOutOfStep);
  });

  it.each([
    ["", []],
    [", and of removals none is remembered", [noRemovals]],
  ])("lets no dead writer undo what was acknowledged to one who began later%s", { timeout }, async (_, edits) => {
    await tryAll(await compileProtocol(edits), () => undefined, scenarioOfTheDead);
  });
});

describe("the simulation", () => {
  it.each(Object.entries(mutants))("finds that %s", { timeout }, async (_, edits) => {
    expect(await schedulesUntilCaught(await compileProtocol(edits))).toBeDefined();
  });

  it.each(Object.entries(mutantsToAndFro))("finds that %s", { timeout }, async (_, edits) => {
    expect(await schedulesUntilCaught(await compileProtocol(edits), scenarioToAndFro)).toBeDefined();
  });

  it.each(Object.entries(mutantsOfTheDead))("finds that %s", { timeout }, async (_, edits) => {
    expect(await schedulesUntilCaught(await compileProtocol(edits), scenarioOfTheDead)).toBeDefined();
  });

  describe("without generations", () => {
    const compile = async (edits: readonly Edit[]): Promise<Protocol> => ({
      ...(await compileProtocol([...withoutGenerations, ...edits])),
      forgivesTheDead: true,
    });

    it("finds nothing else", { timeout }, async () => {
      await tryAll(await compile([]), () => undefined);
    });

    it.each(Object.entries(mutantsWithoutGenerations))("finds that %s", { timeout }, async (_, edits) => {
      expect(await schedulesUntilCaught(await compile(edits))).toBeDefined();
    });

    it.each(Object.entries(mutantsWithoutGenerationsOutOfStep))("finds that %s", { timeout }, async (_, edits) => {
      expect(await schedulesUntilCaught(await compile(edits), scenarioOutOfStep)).toBeDefined();
    });
  });

  it("finds that an intent is sent twice", { timeout }, async () => {
    expect(await schedulesUntilCaught({ commitChanges, StowageError, ignoresOnce: true })).toBeDefined();
  });
});
