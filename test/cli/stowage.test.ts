import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { commands } from "../../src/cli/commands.ts";
import { serveStowage, stowage } from "../support/run-stowage.ts";

describe("stowage", () => {
  it.each([[[]], [["--help"]], [["-h"]], [["help"]]])("lists its commands and exit codes: %j", async (args) => {
    const { code, stdout, stderr } = await stowage(args);
    for (const name of Object.keys(commands)) expect(stdout).toMatch(new RegExp(`^  ${name} +\\w`, "m"));
    expect(stdout).toContain("Exit codes: 0 done, 1 failed");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it.each(Object.keys(commands))("explains %s with examples that fit a terminal", async (name) => {
    const { code, stdout, stderr } = await stowage([name, "anything", "--help"]);
    expect(stdout).toMatch(
      new RegExp(`^Usage: stowage ${name} .*\n\n[^]*\nExamples:\n(?: {2}.*stowage ${name}.*\n)+$`),
    );
    expect(Math.max(...stdout.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(85);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("explains the command that stands behind help", async () => {
    expect(await stowage(["help", "load"])).toEqual(await stowage(["load", "--help"]));
    expect((await stowage(["help", "lod"])).stderr).toMatch(
      /^stowage: there is no command "lod", did you mean "load"\?/,
    );
  });

  it.each(["--version", "-V", "version"])("says which version it is: %s", async (name) => {
    const { version } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    expect(await stowage([name])).toEqual({
      code: 0,
      stdout: `stowage ${version} (Node ${process.versions.node})\n`,
      stderr: "",
    });
  });

  it.each([
    [["toString"], 'stowage: there is no command "toString"\n\n'],
    [["sevre"], 'stowage: there is no command "sevre", did you mean "serve"?\n\n'],
    [["ls", "--stroe", "memory:"], "stowage ls: there is no option --stroe, did you mean --store?\n"],
    [["ls", "--colour"], "stowage ls: there is no option --colour\n"],
  ])("exits with 2 for what it does not have, and says what may be meant: %j", async (args, message) => {
    const { code, stdout, stderr } = await stowage(args);
    expect(stderr.slice(0, message.length)).toBe(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  it("warns of a misspelt setting, and goes on", async () => {
    const { code, stdout, stderr } = await stowage(["ls", "--json"], { env: { STOWAGE_STROE: "memory:" } });
    expect(stderr).toBe(
      "stowage ls: Warning: there is no setting STOWAGE_STROE, did you mean STOWAGE_STORE?\n" +
        "stowage ls: there is no Stowage store in file:./data\n",
    );
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  it("does not mind settings of a service in commands", async () => {
    const names = ["HOST", "PORT", "STOWAGE_TOKENS", "STOWAGE_TOKENS_FILE", "STOWAGE_OIDC", "STOWAGE_ANONYMOUS_PULL"];
    const env = Object.fromEntries(names.map((name) => [name, "not what it should be"]));
    const { stderr } = await stowage(["gc"], { env });
    expect(stderr).toBe("stowage gc: there is no Stowage store in file:./data\n");
  });

  it("says when it serves who may do what, and which settings do nothing", async () => {
    const service = await serveStowage(["--store", "memory:"], { STOWAGE_TOKENS: "[]", STOWAGE_TOKNES: "[]" });
    service.kill("SIGTERM");
    const { stdout } = await service.outcome;
    expect(stdout).toMatch(/^\S+Z Warning: there is no setting STOWAGE_TOKNES, did you mean STOWAGE_TOKENS\?$/m);
    expect(stdout).toMatch(/^\S+Z Warning: STOWAGE_TOKENS is an empty list: /m);
    expect(stdout).toMatch(/^\S+Z Stowage listens on \S+, images are kept in memory:; nobody may do anything$/m);
  });

  it("reports every setting that it cannot use at once", async () => {
    const env = { PORT: "http", HOST: "0.0.0.0", STOWAGE_MAX_ENTRIES: "many" };
    const { code, stderr } = await stowage(["serve"], { env });
    expect(stderr).toMatch(/PORT is "http", [^]*STOWAGE_MAX_ENTRIES is "many", [^]*HOST is "0\.0\.0\.0", /);
    expect(code).toBe(2);
  });
});
