/**
 * Loads, removals and gcs under many schedules. A failure prints its seed and what happened: `STOWAGE_TEST_SEED=<seed>` runs
 * that one again, and those after it; `STOWAGE_TEST_RUNS=10000` runs more of them.
 */
import process from "node:process";
import { describe, expect, it } from "vitest";
import { compileProtocol, mutants } from "./protocol.ts";
import { type Protocol, simulate } from "./simulate.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 300);
const seed = process.env["STOWAGE_TEST_SEED"] ?? "1";
/** The same ones each time, unless others are asked for: `random`, or the seed of a failure. */
const firstSeed = seed === "random" ? Math.floor(Math.random() * 2 ** 31) : Number(seed);
const timeout = 60_000 + runs * 100;

/** What each schedule showed, up to the first that went wrong. */
async function search(
  protocol: Protocol,
): Promise<{ readonly problem?: string; readonly sights: Map<string, number> }> {
  const sights = new Map<string, number>();
  for (let i = firstSeed; i < firstSeed + runs; i++) {
    const result = await simulate(i, protocol);
    for (const [sight, count] of result.sights) sights.set(sight, (sights.get(sight) ?? 0) + count);
    const { problems } = result;
    if (problems.length > 0) return { problem: `seed ${i}\n${problems.join("\n")}\n${result.trace}`, sights };
  }
  return { sights };
}

describe("collectGarbage, beside loads", () => {
  it("leaves every image whole, and in the end nothing else", { timeout }, async () => {
    const { problem, sights } = await search(await compileProtocol());
    process.stdout.write(`${JSON.stringify([...sights])}\n`);
    expect(problem).toBeUndefined();
  });

  it.each(Object.keys(mutants))("would not if %s", { timeout }, async (name) => {
    const { problem } = await search(await compileProtocol(mutants[name]));
    process.stdout.write(`${name}: ${problem?.split("\n").slice(0, 2).join(" ")}\n`);
    expect(problem).toMatch(/^seed \d+\n.* has lost /);
  });
});
