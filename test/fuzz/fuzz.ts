/**
 * A coverage-guided fuzzer: changes inputs at random, and keeps those that reach what none did before, to change them
 * further. By our own hand: jazzer.js needs a newer C library than Debian 12 has.
 */
import { Buffer } from "node:buffer";
import { type ByteMutation, byteMutationKinds, mutateBytes } from "../support/mutate-bytes.ts";
import { startCoverage } from "./coverage.ts";

export interface FuzzTarget {
  /** What it starts from. */
  readonly corpus: () => Promise<readonly Buffer[]>;
  /** Throws if what is under test is wrong. */
  readonly run: (input: Buffer) => Promise<void>;
  /** Changes of its own, where bytes alone would rarely hit: words that are put in somewhere. */
  readonly words?: readonly string[];
}

export interface FuzzOptions {
  readonly seconds: number;
  readonly seed: number;
}

export interface FuzzReport {
  readonly runs: number;
  /** Inputs that reached something new, and those that it started from. */
  readonly kept: number;
}

/** An input's bytes at most: longer ones only take time. */
const maxInputBytes = 64 * 1024;

/** Inputs between two looks at what was reached: a look takes as long as some runs. */
const batchSize = 16;

/** Runs the target for so many seconds. Throws what it throws, with the input in the message. */
export async function fuzz(target: FuzzTarget, { seconds, seed }: FuzzOptions): Promise<FuzzReport> {
  const random = randomOf(seed);
  const coverage = await startCoverage();
  const kept = [...(await target.corpus())];
  const end = Date.now() + seconds * 1000;
  let runs = 0;
  const run = async (input: Buffer): Promise<void> => {
    runs++;
    await target.run(input).catch((error: unknown) => {
      throw new Error(`Seed ${seed}, run ${runs}, the input in base64: ${input.toString("base64")}`, { cause: error });
    });
  };
  try {
    for (const input of kept) await run(input);
    await coverage.hasNews({ remember: true });
    while (Date.now() < end) {
      const batch = Array.from({ length: batchSize }, () =>
        changed(pick(kept, random), { random, others: kept, words: target.words ?? [] }),
      );
      for (const input of batch) await run(input);
      if (!(await coverage.hasNews({ remember: false }))) continue;
      for (const input of batch) {
        await run(input);
        if (await coverage.hasNews({ remember: true })) kept.push(input);
      }
    }
  } finally {
    coverage.stop();
  }
  return { runs, kept: kept.length };
}

type Random = (below: number) => number;

interface ChangeOptions {
  readonly random: Random;
  readonly others: readonly Buffer[];
  readonly words: readonly string[];
}

function changed(input: Buffer, { random, others, words }: ChangeOptions): Buffer {
  const mutations = Array.from({ length: 1 + random(4) }, (): ByteMutation => ({
    kind: byteMutationKinds[random(byteMutationKinds.length)] ?? "cut",
    at: random(2 ** 30),
    by: random(2 ** 30),
  }));
  const bytes = random(4) === 0 ? input : mutateBytes(input, mutations);
  const spliced = random(8) === 0 ? splice(bytes, pick(others, random), random) : bytes;
  const worded =
    words.length > 0 && random(2) === 0 ? putWord(spliced, words[random(words.length)] ?? "", random) : spliced;
  return worded.subarray(0, maxInputBytes);
}

/** The front of one and the back of another. */
function splice(front: Buffer, back: Buffer, random: Random): Buffer {
  return Buffer.concat([front.subarray(0, random(front.length + 1)), back.subarray(random(back.length + 1))]);
}

function putWord(bytes: Buffer, word: string, random: Random): Buffer {
  const at = random(bytes.length + 1);
  const replaced = random(2) === 0 ? 0 : random(20);
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(word), bytes.subarray(at + replaced)]);
}

function pick(inputs: readonly Buffer[], random: Random): Buffer {
  return inputs[random(inputs.length)] ?? Buffer.alloc(0);
}

/** The same numbers for the same seed (mulberry32). */
function randomOf(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
