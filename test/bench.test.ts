/** The benchmarks run, on the smallest input; what they measure is for people to read (`bench/README.md`). */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { buildStowage } from "./support/build.ts";
import { describeIfFound } from "./support/requirement.ts";
import { missingTools } from "./tools/find-tool.ts";
import { runTool } from "./tools/run-tool.ts";

const bench = (script: string): string => fileURLToPath(new URL(`../bench/${script}`, import.meta.url));

const root = fileURLToPath(new URL("..", import.meta.url));

const tiny = ["--scale", "0.01", "--rounds", "1", "--tarballs", "mixed"];

beforeAll(async () => {
  await buildStowage();
});

describe("the benchmarks", { timeout: 240_000 }, () => {
  it.each([
    ["bench.mjs", ["--scale", "0.02", "--rounds", "2", "--minutes", "9"], /^\| the straightforward build .* 2 \|$/m],
    [
      "bench.mjs",
      [...tiny, "--stores", "directory,sink", "--against", root],
      /^\*\*.* A directory\n.*^\| the build in /ms,
    ],
    ["index-size.mjs", ["--tags", "100", "--rounds", "1", "--crowd", "2"], /^\| 100 /m],
    ["hostile.mjs", ["--rounds", "1"], /^\| patterns of many stars /m],
    ["hostile.mjs", ["--attacks", "1"], /^\| 10,000 tags .*^\| 3 loads of an index /ms],
  ])("print their figures: %s", async (script, options, figures) => {
    expect(await runTool(process.execPath, [bench(script), ...options])).toMatch(figures);
  });

  describeIfFound("of copies", missingTools(["versitygw", "skopeo"]), () => {
    it("print their figures: copy.mjs", async () => {
      const options = ["--mib", "4", "--blobs", "8", "--images", "2", "--rounds", "1"];
      expect(await runTool(process.execPath, [bench("copy.mjs"), ...options])).toMatch(
        /^server median {2}stowage .*^streamed median {2}stowage /ms,
      );
    });
  });

  describeIfFound("of other programs", missingTools(["versitygw", "crane", "regctl", "skopeo", "node24"]), () => {
    it("print their figures: bench.mjs", async () => {
      const options = [...tiny, "--stores", "versitygw25", "--contenders", "stowage,node24,crane,regctl,skopeo,curl"];
      expect(await runTool(process.execPath, [bench("bench.mjs"), ...options])).toMatch(
        /^\| Stowage, Node 24 .*^\| `curl -T`/ms,
      );
    });
  });
});
