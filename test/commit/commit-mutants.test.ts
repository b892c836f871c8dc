/** The simulation finds what it is there to find: each known way to get the protocol wrong is caught by a few schedules. */
import process from "node:process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileProtocol, mutants } from "./mutants.ts";
import { arbitraryScenario } from "./scenario.ts";
import { type Protocol, simulate } from "./simulate.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 4000);

async function schedulesUntilCaught(protocol: Protocol): Promise<number | undefined> {
  let count = 0;
  const details = await fc.check(
    fc.asyncProperty(arbitraryScenario, async (scenario) => {
      count++;
      return (await simulate(scenario, protocol)).problems.length === 0;
    }),
    { numRuns: runs, seed: 1, endOnFailure: true },
  );
  if (details.errorInstance !== null && details.errorInstance !== undefined)
    process.stdout.write(String(details.errorInstance));
  return details.failed ? count : undefined;
}

describe("the simulation", () => {
  it.each(Object.keys(mutants))("catches it when %s", { timeout: 200_000 }, async (name) => {
    const count = await schedulesUntilCaught(await compileProtocol(mutants[name] ?? []));
    process.stdout.write(`${name}: ${count}\n`);
    expect(count).toBeDefined();
  });

  it("catches it when an intent is sent twice", { timeout: 200_000 }, async () => {
    const count = await schedulesUntilCaught({ ...(await compileProtocol([])), ignoresOnce: true });
    process.stdout.write(`twice: ${count}\n`);
    expect(count).toBeDefined();
  });
});
