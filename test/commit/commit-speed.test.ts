import process from "node:process";
import { describe, expect, it } from "vitest";
import { runCrowd, type CrowdReport } from "./crowd.ts";

function describeCrowd(name: string, { writers, tookMs }: CrowdReport): string {
  const of = (key: "looks" | "writes" | "requests" | "tookMs"): string => {
    const all = writers.map((w) => w[key]);
    return `${key} mean ${(all.reduce((a, b) => a + b, 0) / all.length).toFixed(2)} max ${Math.max(...all).toFixed(0)}`;
  };
  return `${name}: ${writers.length} in ${tookMs.toFixed(0)} ms; ${of("looks")}; ${of("writes")}; ${of("requests")}; ${of("tookMs")}`;
}
describe("speed", () => {
  it("x", { timeout: 100_000 }, async () => {
    for (const n of [2, 10, 100, 1000])
      for (const seed of n > 100 ? [1] : [1, 2]) {
        const t = performance.now();
        const r = await runCrowd({ startsMs: Array.from({ length: n }, () => 0), seed });
        process.stdout.write(
          `${describeCrowd(`${n}/${seed}`, r)} intents ${r.intents} entries ${r.index.entries.length} cpu ${(performance.now() - t).toFixed(0)}\n`,
        );
        expect(r.writers.length).toBe(n);
      }
    for (const seed of [1, 2]) {
      const r = await runCrowd({ startsMs: Array.from({ length: 600 }, (_, i) => (i * 1000) / 30), seed });
      process.stdout.write(`${describeCrowd(`stream/${seed}`, r)} intents ${r.intents}\n`);
    }
    for (const at of [5]) {
      const r = await runCrowd({
        startsMs: Array.from({ length: 100 }, (_, i) => (i === 0 ? 0 : 3)),
        seed: 1,
        deaths: new Map([[0, at]]),
      });
      process.stdout.write(`${describeCrowd(`dead first at ${at}`, r)} intents ${r.intents}\n`);
    }
  });
});
