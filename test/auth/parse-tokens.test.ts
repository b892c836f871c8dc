import { describe, expect, it } from "vitest";
import { parseTokens } from "../../src/auth/parse-tokens.ts";
import { sha256 } from "../support/bytes.ts";

const secret = "hunter2-hunter2-hunter2";
const digest = hexOf(secret);
const ci = { name: "ci", sha256: digest, actions: ["pull", "load"], repositories: ["team/**", "base"] };

function hexOf(text: string): string {
  return sha256(Buffer.from(text)).slice("sha256:".length);
}

function problemsOf(setting: unknown): readonly string[] {
  return parseTokens(typeof setting === "string" ? setting : JSON.stringify(setting)).problems;
}

describe("parseTokens", () => {
  it("reads a list of tokens", () => {
    const reader = { name: "reader@example.com", sha256: hexOf("other"), actions: ["pull"] };
    expect(parseTokens(JSON.stringify([ci, reader]))).toEqual({
      entries: [ci, { ...reader, repositories: ["**"] }],
      problems: [],
    });
  });

  it.each([
    ["2027-03-31T12:00:00Z", "2027-03-31T12:00:00.000Z"],
    ["2027-03-31T12:00+02:00", "2027-03-31T10:00:00.000Z"],
    ["2027-03-31T12:00:00.5Z", "2027-03-31T12:00:00.500Z"],
    ["2028-02-29", "2028-03-01T00:00:00.000Z"],
  ])("reads when a token expires: %s", (expires, expected) => {
    const { entries, problems } = parseTokens(JSON.stringify([{ ...ci, expires }]));
    expect(problems).toEqual([]);
    expect(entries?.[0]?.expires?.toISOString()).toBe(expected);
  });

  it.each([
    "2027-03-31T12:00:00",
    "2027-02-30",
    "2027-02-29T00:00:00Z",
    "2027-13-01",
    "2027-03-31T25:00:00Z",
    "31.3.2027",
    "90d",
    "",
    1_800_000_000,
    null,
  ])("takes no %j for a time", (expires) => {
    expect(problemsOf([{ ...ci, expires }])).toEqual([
      expect.stringMatching(
        /^entry 1 of 1: expires is (?:a text of \d+ characters|a number|null), expected a time with its zone, /,
      ),
    ]);
  });

  it("tells no setting from a list of nobody", () => {
    expect(parseTokens("")).toEqual({ entries: undefined, problems: [] });
    expect(parseTokens("[]")).toEqual({ entries: [], problems: [] });
  });

  it.each([
    ["no JSON", secret, ["found no JSON, expected a JSON list"]],
    ["JSON that is cut short", `[{"name":"${secret}`, ["found no JSON, expected a JSON list"]],
    ["one entry without a list", ci, ["found an object, expected a JSON list"]],
    ["a secret instead of an entry", [secret], [/^entry 1 of 1: found a text of 23 characters, expected an object$/]],
    [
      "the name of callers without a token",
      [{ ...ci, name: "nobody" }],
      [/^entry 1 of 1: name is .*none of anyone, nobody, unknown$/],
    ],
    ["a name with a space", [{ ...ci, name: `${secret} ` }], [/^entry 1 of 1: name is a text of 24 characters, /]],
    [
      "the secret itself",
      [{ ...ci, sha256: secret }],
      [/sha256 is a text of 23 characters, expected 64 lower-case hex/],
    ],
    [
      "upper-case digits",
      [{ ...ci, sha256: digest.toUpperCase() }],
      [/sha256 is a text of 64 characters, expected 64 l/],
    ],
    ["the digest of nothing", [{ ...ci, sha256: hexOf("") }], [/of a secret that is not empty$/]],
    ["the digest of a line's end", [{ ...ci, sha256: hexOf("\n") }], [/of a secret that is not empty$/]],
    [
      "no actions",
      [{ ...ci, actions: undefined }],
      [/actions is not there, expected a list of "pull", "load", "copy", "delete" and/],
    ],
    ["an empty list of actions", [{ ...ci, actions: [] }], [/actions is an empty list, expected/]],
    ["an unknown action", [{ ...ci, actions: ["pull", secret] }], [/actions is a list of something else, expected/]],
    ["an empty list of repositories", [{ ...ci, repositories: [] }], [/repositories is an empty list, expected/]],
    [
      "a pattern that no name can fit",
      [{ ...ci, repositories: [`${secret}?`] }],
      [/repositories is a list of something/],
    ],
    ["repositories that are null", [{ ...ci, repositories: null }], [/repositories is null, expected a list/]],
    [
      "an unknown property",
      [{ ...ci, [secret]: 1, repository: "x" }],
      [/found a property that means nothing, expected name/],
    ],
    ["one name twice", [ci, { ...ci, sha256: hexOf("other") }], [/^several entries have the same name, /]],
    ["one secret twice", [ci, { ...ci, name: "other" }], [/^several entries have the same sha256, /]],
    [
      "several things at once",
      [{ ...ci, name: "" }, ci, { sha256: "", actions: "pull" }],
      [/^entry 1 of 3: name/, /^entry 3 of 3: name/, /^entry 3 of 3: sha256/, /^entry 3 of 3: actions is a text of 4 /],
    ],
  ])("reports %s, and never what was found", (_, setting, expected) => {
    const problems = problemsOf(setting);
    expect(problems).toHaveLength(expected.length);
    for (const [i, message] of expected.entries()) expect(problems[i]).toMatch(message);
    expect(problems.join("\n")).not.toContain(secret);
  });
});
