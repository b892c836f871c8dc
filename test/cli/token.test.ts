import { describe, expect, it } from "vitest";
import { parseTokens } from "../../src/auth/parse-tokens.ts";
import { sha256 } from "../support/bytes.ts";
import { stowage } from "../support/run-stowage.ts";

describe("stowage token", () => {
  it("prints a secret and the entry that knows it by its digest alone", async () => {
    const { code, stdout, stderr } = await stowage(["token", "ci"]);
    const [, secret = "", entry = ""] = /^ {2}(stowage_[\w-]{43})$[^]*^ {2}(\{.*\})$/m.exec(stdout) ?? [];
    const digest = sha256(Buffer.from(secret)).slice("sha256:".length);
    const expected = { name: "ci", sha256: digest, actions: ["pull", "load"], repositories: ["**"] };
    expect(parseTokens(`[${entry}]`)).toEqual({ tokens: [expected], problems: [] });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("prints another secret each time", async () => {
    const [first, second] = await Promise.all([stowage(["token", "ci"]), stowage(["token", "ci"])]);
    expect(first.stdout).not.toBe(second.stdout);
  });

  it("limits what the token is good for, and prints JSON", async () => {
    const patterns = ["--repository", "team/**", "--repository", "base"];
    const { stdout } = await stowage(["token", "ci", "--allow", "delete,pull", ...patterns, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      secret: expect.stringMatching(/^stowage_/),
      entry: { name: "ci", actions: ["delete", "pull"], repositories: ["team/**", "base"] },
    });
  });

  it("explains itself with examples that fit a terminal", async () => {
    const { stdout } = await stowage(["token", "--help"]);
    expect(stdout).toMatch(/^Usage: stowage token .*\n\n[^]*\nExamples:\n(?: {2}.*stowage token.*\n)+$/);
    expect(Math.max(...stdout.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(85);
  });

  it.each([
    [[], "expected NAME"],
    [["a", "b"], "expected NAME"],
    [["a b"], 'NAME is "a b", expected 1 to 64'],
    [["a", "--allow", "push"], '--allow has "push", expected pull, load, copy, delete'],
    [["a", "--allow", ""], '--allow has "", expected'],
    [["a", "--repository", "Team/*"], '--repository is "Team/*", expected a repository name'],
  ])("exits with 2 for %j", async (args, message) => {
    const { code, stdout, stderr } = await stowage(["token", ...args]);
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});
