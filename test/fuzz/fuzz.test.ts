/**
 * Fuzzes each target for a moment; `npm run fuzz` does so for a minute in all, and `STOWAGE_FUZZ_SECONDS=600 npm run fuzz`
 * for as long as one likes. A failure prints its seed and its input. What is found becomes a test of its own.
 */
import process from "node:process";
import { describe, expect, it } from "vitest";
import { fuzz } from "./fuzz.ts";
import { fuzzTargets } from "./targets.ts";

/** For all targets together. */
const seconds = Number(process.env["STOWAGE_FUZZ_SECONDS"] ?? 5);
const seed = Number(process.env["STOWAGE_TEST_SEED"] ?? Date.now() % 2 ** 31);

const targets = Object.entries(fuzzTargets);

describe("fuzzing", () => {
  it.each(targets)("finds nothing wrong with %s", { timeout: seconds * 1000 + 60_000 }, async (name, target) => {
    const { runs, kept } = await fuzz(target, { seconds: seconds / targets.length, seed });
    process.stderr.write(`${name}: ${runs} runs, ${kept} inputs kept, seed ${seed}\n`);
    expect(runs).toBeGreaterThan(0);
  });
});
