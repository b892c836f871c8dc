import { describe, expect, it } from "vitest";
import { describeSkipped, skippedTitle } from "./support/skipped-reporter.ts";

describe("describeSkipped", () => {
  it("names in one line how many files and groups were left out, what is missing, and how to get it", () => {
    const titles = [
      skippedTitle(["not on the PATH: bun, deno (see test/tools/install.sh)"]),
      skippedTitle([
        "not on the PATH: deno (see test/tools/install.sh)",
        "there is no /a/b/dockerd (see test/tools/install.sh)",
      ]),
      skippedTitle(["weed is neither on the PATH nor in /a/bin: test/servers/install.sh installs it"]),
      skippedTitle(["dockerd can be run by root alone"]),
      "a test that a filter has left out",
    ];
    expect(describeSkipped(titles, { leftOut: 3 })).toBe(
      "Skipped 3 files of tests that take longer (npm run test:all), and 4 groups of tests that lack " +
        "bun, deno, dockerd, dockerd can be run by root alone, weed " +
        "(test/tools/install.sh, test/servers/install.sh, test/infra/install.sh)",
    );
  });

  it("says nothing where nothing was left out", () => {
    expect(describeSkipped(["a test that a filter has left out"], { leftOut: 0 })).toBeUndefined();
  });
});
