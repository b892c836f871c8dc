/** The benchmarks run, on the smallest input; what they measure is for people to read (`bench/README.md`). */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { buildStowage } from "./support/build.ts";
import { describeIfFound } from "./support/requirement.ts";
import { newFolder } from "./support/run-stowage.ts";
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
    [
      "bench.mjs",
      [...tiny, "--rounds", "2", "--stores", "sink30"],
      /^ratio  sink30 mixed  straightforward .* 2 rounds$/m,
    ],
    [
      "bench.mjs",
      [...tiny, "--stores", "directory,sink", "--against", root],
      /^\*\*.* A directory\n.*^\| the build in /ms,
    ],
    ["growth.mjs", ["--only", "tags", "--points", "100", "--rounds", "1", "--crowd", "2"], /^\| 100 /m],
    ["growth.mjs", ["--only", "size", "--points", "0.01"], /^\| 0.01 \|/m],
    ["growth.mjs", ["--only", "loads", "--points", "2"], /^\| 2 \|/m],
    ["growth.mjs", ["--only", "blobs", "--points", "200"], /^\| 200 \|/m],
    ["hostile.mjs", ["--rounds", "1"], /^\| patterns of many stars /m],
    ["hostile.mjs", ["--attacks", "1"], /^\| 10,000 tags .*^\| 3 loads of an index /ms],
  ])("print their figures: %s", async (script, options, figures) => {
    expect(await runTool(process.execPath, [bench(script), ...options])).toMatch(figures);
  });

  it("make the tables and plots of a page, of what this run and former runs have measured", async () => {
    const docs = await newFolder();
    const marks = ["loads", "growth"].map((name) => `<!-- begin: bench ${name} -->\n<!-- end: bench ${name} -->`);
    await writeFile(join(docs, "performance.md"), `# By hand\n\n${marks.join("\n\nBetween\n\n")}\n\nBehind\n`);
    await runTool(process.execPath, [bench("bench.mjs"), ...tiny, "--stores", "sink", "--write", docs]);
    await runTool(process.execPath, [bench("growth.mjs"), "--only", "size", "--points", "0.01", "--write", docs]);
    await runTool(process.execPath, [bench("bench.mjs"), ...tiny, "--stores", "directory", "--write", docs]);
    const page = await readFile(join(docs, "performance.md"), "utf8");
    expect(page).toMatch(/^# By hand\n.*^\| sink +\|.*loads-directory\.svg.*^Between\n.*^\| +0.01 \|.*^Behind\n$/ms);
    for (const [, path = ""] of page.matchAll(/\]\((performance\/[^)]+)\)/g)) {
      expect(await readFile(join(docs, path), "utf8")).not.toMatch(/NaN|undefined/);
    }
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
