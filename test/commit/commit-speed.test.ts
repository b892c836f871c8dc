/**
 * How fast many writers are together, in virtual time, at 30 to 60 ms a request. The limits leave some room above what is.
 */
import { describe, expect, it } from "vitest";
import { type CrowdReport, type WriterReport, runCrowd } from "./crowd.ts";

const timeout = 120_000;
const together = (count: number): number[] => Array.from({ length: count }, () => 0);

type Figure = "looks" | "writes" | "requests" | "tookMs";
const figures = ({ writers }: CrowdReport, figure: Figure): number[] =>
  writers.map((writer: WriterReport) => writer[figure]);
const mostOf = (report: CrowdReport, figure: Figure): number => Math.max(...figures(report, figure));
const meanOf = (report: CrowdReport, figure: Figure): number =>
  figures(report, figure).reduce((sum, value) => sum + value, 0) / report.writers.length;

/** All are told that their tag was made, all tags are there, and no intents but those of the dead. */
function expectAll(report: CrowdReport, { writers, dead = 0 }: { writers: number; dead?: number }): void {
  expect(report.writers.map(({ outcomes }) => outcomes)).toEqual(
    Array.from({ length: writers }, () => [{ changes: [{ status: "created" }] }]),
  );
  expect(report.index.entries.length).toBeGreaterThanOrEqual(writers);
  expect(report.intents).toBeLessThanOrEqual(dead);
}

describe("commitChanges, with many writers", () => {
  it("takes a writer alone two requests, and one more where the repository is new", async () => {
    const report = await runCrowd({ startsMs: [0, 1000], seed: 1 });
    expectAll(report, { writers: 2 });
    expect(figures(report, "requests")).toEqual([3, 2]);
    expect(mostOf(report, "tookMs")).toBeLessThan(3 * 60);
  });

  it.each([1, 2, 3, 4, 5, 6])(
    "has 100 look at most 6 times each, and write at most 6 times (seed %d)",
    async (seed) => {
      const report = await runCrowd({ startsMs: together(100), seed });
      expectAll(report, { writers: 100 });
      expect(mostOf(report, "looks")).toBeLessThanOrEqual(6);
      expect(mostOf(report, "writes")).toBeLessThanOrEqual(6);
      expect(meanOf(report, "requests")).toBeLessThan(13);
      expect(report.tookMs).toBeLessThan(1500);
    },
  );

  it.each([1, 2, 3, 4, 5, 6])("has 100 who want one tag look and write at most 6 times (seed %d)", async (seed) => {
    const report = await runCrowd({ startsMs: together(100), seed, tag: "latest" });
    expect(report.writers).toHaveLength(100);
    const created = report.writers.filter(({ outcomes }) => JSON.stringify(outcomes).includes("created"));
    expect(created).toHaveLength(1);
    expect(report.index.entries).toHaveLength(1);
    expect(report.intents).toBe(0);
    expect(mostOf(report, "looks")).toBeLessThanOrEqual(6);
    expect(mostOf(report, "writes")).toBeLessThanOrEqual(6);
    expect(meanOf(report, "requests")).toBeLessThan(13);
    expect(report.tookMs).toBeLessThan(2000);
  });

  it("has 1000 look no more often than 100", { timeout }, async () => {
    const report = await runCrowd({ startsMs: together(1000), seed: 1 });
    expectAll(report, { writers: 1000 });
    expect(mostOf(report, "looks")).toBeLessThanOrEqual(6);
    expect(mostOf(report, "writes")).toBeLessThanOrEqual(6);
    expect(meanOf(report, "requests")).toBeLessThan(13);
    expect(report.tookMs).toBeLessThan(5000);
  });

  it("starves nobody in a stream of 30 new writers a second", { timeout }, async () => {
    const startsMs = Array.from({ length: 600 }, (_, i) => (i * 1000) / 30);
    const report = await runCrowd({ startsMs, seed: 1 });
    expectAll(report, { writers: 600 });
    expect(mostOf(report, "tookMs")).toBeLessThan(3000);
    expect(meanOf(report, "requests")).toBeLessThan(20);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "does not wait long for the oldest that died with its request %d",
    async (request) => {
      const startsMs = [0, ...Array.from({ length: 99 }, () => 3)];
      const report = await runCrowd({ startsMs, seed: 1, deaths: new Map([[0, request]]) });
      expectAll(report, { writers: 99, dead: 1 });
      expect(mostOf(report, "looks")).toBeLessThanOrEqual(6);
      expect(report.tookMs).toBeLessThan(3000);
    },
  );
});
