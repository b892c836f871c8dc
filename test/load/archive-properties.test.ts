/**
 * Loads archives that fast-check makes. A failure prints its seed: `STOWAGE_TEST_SEED=<seed>` runs the same ones again, and
 * `STOWAGE_TEST_RUNS=100000` runs more of them.
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import { StowageError } from "../../src/errors.ts";
import { defaultLimits } from "../../src/limits.ts";
import { readAll, sha256, splitInto } from "../support/bytes.ts";
import { type LoadOutcome, checkLoad } from "../support/check-load.ts";
import { arbitraryArchive, arbitraryChunkSizes } from "./arbitrary-archive.ts";
import { arbitraryDockerArchive } from "./arbitrary-docker-archive.ts";
import { arbitraryMutatedArchive } from "./arbitrary-mutations.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 300);
/** The same ones each time, unless others are asked for: `random`, or the seed of a failure. */
const seed = process.env["STOWAGE_TEST_SEED"] ?? "1";
const maxMs = 20_000 + runs * 20; // also while a failure is made smaller
const parameters = { numRuns: runs, interruptAfterTimeLimit: maxMs, ...(seed !== "random" && { seed: Number(seed) }) };
const timeout = 2 * maxMs;

/**
 * What reading the archive to its end comes to: its entries, or the error. Of two things that are wrong with a compressed
 * one either may be seen first.
 */
async function outcomeOf(body: Uint8Array, chunkSizes: readonly number[]): Promise<unknown> {
  const entries: unknown[] = [];
  try {
    for await (const { body: content, ...entry } of readArchive(splitInto(body, chunkSizes), defaultLimits)) {
      entries.push({ ...entry, content: sha256(await readAll(content)) });
    }
    return entries;
  } catch (error) {
    if (!(error instanceof StowageError)) throw error;
    return isTar(body) ? { code: error.code, message: error.message } : "refused";
  }
}

function isTar(body: Uint8Array): boolean {
  return Buffer.from(body.subarray(257, 262)).equals(Buffer.from("ustar"));
}

describe("loadArchive, of any archive", () => {
  it("takes every one that is right", { timeout }, async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryArchive, arbitraryChunkSizes, async (body, chunkSizes) => {
        expect(await checkLoad(body, chunkSizes)).toBe("loaded");
      }),
      parameters,
    );
  });

  it("takes every docker-archive that is right", { timeout }, async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryDockerArchive, arbitraryChunkSizes, async (body, chunkSizes) => {
        expect(await checkLoad(body, chunkSizes)).toBe("loaded");
      }),
      parameters,
    );
  });

  it("answers what an independent reader finds, or leaves what others see as it was", { timeout }, async () => {
    const outcomes = new Map<LoadOutcome, number>();
    await fc.assert(
      fc.asyncProperty(arbitraryMutatedArchive, arbitraryChunkSizes, async (body, chunkSizes) => {
        const outcome = await checkLoad(body, chunkSizes);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }),
      { ...parameters, numRuns: 3 * runs },
    );
    expect(outcomes.get("loaded")).toBeGreaterThan(runs / 20); // or the changes would hide one another
    expect(outcomes.size).toBeGreaterThan(5);
  });
});

describe("readArchive, of any archive", () => {
  it("comes to the same however the archive is split", { timeout }, async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryMutatedArchive, arbitraryChunkSizes, async (body, chunkSizes) => {
        expect(await outcomeOf(body, chunkSizes)).toEqual(await outcomeOf(body, [body.length]));
      }),
      parameters,
    );
  });
});
