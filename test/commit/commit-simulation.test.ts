/**
 * The commit protocol under thousands of schedules that fast-check makes. A failure prints its seed and what happened:
 * `STOWAGE_TEST_SEED=<seed>` runs the same ones again, and `STOWAGE_TEST_RUNS=100000` runs more of them.
 */
import process from "node:process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { commitChanges } from "../../src/commit/commit-changes.ts";
import { StowageError } from "../../src/errors.ts";
import { arbitraryScenario } from "./scenario.ts";
import { type Protocol, simulate } from "./simulate.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 4000);
/** The same ones each time, unless others are asked for: `random`, or the seed of a failure. */
const seed = process.env["STOWAGE_TEST_SEED"] ?? "1";
const parameters = { numRuns: runs, ...(seed !== "random" && { seed: Number(seed) }) };
const timeout = 60_000 + runs * 40;

const protocol: Protocol = { commitChanges, StowageError };

describe("commitChanges, of any schedule", () => {
  it("tells writers what can be true in one order, and leaves nothing behind", { timeout }, async () => {
    const sights = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(arbitraryScenario, async (scenario) => {
        const result = await simulate(scenario, protocol);
        for (const sight of result.sights) sights.set(sight, (sights.get(sight) ?? 0) + 1);
        if (result.problems.length > 0) throw new Error(`${result.problems.join("\n")}\n${result.trace}`);
      }),
      parameters,
    );
    process.stdout.write(`${JSON.stringify([...sights], undefined, 1)}\n`);
    expect(sights.size).toBeGreaterThan(5);
  });
});
