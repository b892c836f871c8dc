import { describe, expect, it } from "vitest";
import { stowage } from "../support/run-stowage.ts";

describe("stowage", () => {
  it.each([[[]], [["--help"]], [["-h"]], [["help"]]])("lists its commands and exit codes: %j", async (args) => {
    const { code, stdout, stderr } = await stowage(args);
    for (const name of ["serve", "load", "ls", "verify", "gc", "token"])
      expect(stdout).toMatch(new RegExp(`^  ${name} +\\w`, "m"));
    expect(stdout).toContain("Exit codes: 0 done, 1 failed");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it.each(["serve", "load", "ls", "rm", "verify", "gc", "token"])(
    "explains %s with examples that fit a terminal",
    async (name) => {
      const { code, stdout, stderr } = await stowage([name, "anything", "--help"]);
      expect(stdout).toMatch(
        new RegExp(`^Usage: stowage ${name} .*\n\n[^]*\nExamples:\n(?: {2}.*stowage ${name}.*\n)+$`),
      );
      expect(Math.max(...stdout.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(85);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    },
  );

  it("exits with 2 for a command that it does not have", async () => {
    const { code, stdout, stderr } = await stowage(["toString"]);
    expect(stderr).toMatch(/^stowage: there is no command "toString"\n\n/);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("reports every setting that it cannot use at once", async () => {
    const env = { PORT: "http", HOST: "0.0.0.0", STOWAGE_MAX_ENTRIES: "many" };
    const { code, stderr } = await stowage(["serve"], { env });
    expect(stderr).toMatch(/PORT is "http", [^]*STOWAGE_MAX_ENTRIES is "many", [^]*HOST is "0\.0\.0\.0", /);
    expect(code).toBe(2);
  });
});
