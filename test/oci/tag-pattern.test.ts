import { describe, expect, it } from "vitest";
import { parseTagPatterns, tagPatternsOf } from "../../src/oci/tag-pattern.ts";

describe("parseTagPatterns", () => {
  it("reads patterns of tags, for all repositories or for those before the colon", () => {
    expect(parseTagPatterns("v*, 1.2.3,team/**:stable,*:*")).toEqual({
      patterns: [
        { repository: "**", tag: "v*" },
        { repository: "**", tag: "1.2.3" },
        { repository: "team/**", tag: "stable" },
        { repository: "*", tag: "*" },
      ],
      problems: [],
    });
    expect(parseTagPatterns("")).toEqual({ patterns: [], problems: [] });
  });

  it.each([
    ["v*,", '"", expected a pattern of tags'],
    ["team/app:", '"team/app:", expected a pattern of tags'],
    ["-*", '"-*", expected a pattern of tags'],
    ["[0-9]", '"[0-9]", expected a pattern of tags'],
    ["a/b", '"a/b", expected a pattern of tags'],
    [":v1", '":v1", expected a pattern of repository names before the colon'],
    ["Team/*:v1", '"Team/*:v1", expected a pattern of repository names before the colon'],
    ["host:5000/app:v1", '"host:5000/app:v1", expected a pattern of repository names before the colon'],
  ])("says what is wrong with %j", (text, problem) => {
    const { problems } = parseTagPatterns(text);
    expect(problems).toEqual([expect.stringContaining(`found ${problem}`)]);
  });

  it("says all that is wrong", () => {
    expect(parseTagPatterns("A/*:v1,ok,?").problems).toHaveLength(2);
  });
});

describe("tagPatternsOf", () => {
  it("finds those for a repository", () => {
    const { patterns } = parseTagPatterns("v*,team/**:stable,team/app:1");
    expect(tagPatternsOf(patterns, "team/app")).toEqual(["v*", "stable", "1"]);
    expect(tagPatternsOf(patterns, "team/b")).toEqual(["v*", "stable"]);
    expect(tagPatternsOf(patterns, "app")).toEqual(["v*"]);
  });
});
