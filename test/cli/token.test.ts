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
    expect(parseTokens(`[${entry}]`)).toEqual({ entries: [expected], problems: [] });
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

  it("makes a token for metrics alone", async () => {
    const { stdout } = await stowage(["token", "prometheus", "--allow", "metrics", "--json"]);
    const { entry } = JSON.parse(stdout) as { readonly entry: unknown };
    expect(parseTokens(JSON.stringify([entry]))).toMatchObject({ entries: [{ actions: ["metrics"] }], problems: [] });
  });

  it.each([
    ["90d", 90 * 86_400_000],
    ["12h", 12 * 3_600_000],
  ])("makes a token that expires after %s", async (time, ms) => {
    const before = Date.now() - 1000; // whole seconds are written
    const { stdout } = await stowage(["token", "ci", "--expires", time, "--json"]);
    const { entry } = JSON.parse(stdout) as { readonly entry: { readonly expires: string } };
    expect(Date.parse(entry.expires)).toBeGreaterThanOrEqual(before + ms);
    expect(Date.parse(entry.expires)).toBeLessThanOrEqual(Date.now() + ms);
    expect(parseTokens(JSON.stringify([entry]))).toMatchObject({
      entries: [{ expires: new Date(entry.expires) }],
      problems: [],
    });
  });

  it("makes a token that expires at the end of a day", async () => {
    const { stdout } = await stowage(["token", "ci", "--expires", "2999-12-31", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ entry: { expires: "3000-01-01T00:00:00.000Z" } });
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
    [
      ["a", "--expires", "90"],
      '--expires is "90", expected a time from now on, such as 90d or 12h, or a time with its zone',
    ],
    [["a", "--expires", "2020-01-01"], '--expires is "2020-01-01", expected'],
    [["a", "--expires", "0s"], '--expires is "0s", expected'],
    [["a", "--expires", "99999999999d"], '--expires is "99999999999d", expected'],
    [["a", "--repository", "Team/*"], '--repository is "Team/*", expected a repository name'],
  ])("exits with 2 for %j", async (args, message) => {
    const { code, stdout, stderr } = await stowage(["token", ...args]);
    expect(stderr).toContain(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});
