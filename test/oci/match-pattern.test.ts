import { describe, expect, it } from "vitest";
import { isPattern, matchesPattern } from "../../src/oci/tag-pattern.ts";

describe("matchesPattern", () => {
  it.each([
    ["team/app", ["team/app"], ["team/ap", "team/apps", "a/team/app", "team"]],
    ["*", ["app", "a"], ["team/app"]],
    ["team/*", ["team/app"], ["team", "team/app/web", "teams/app", "my/team/app"]],
    ["team/**", ["team/app", "team/app/web"], ["team", "teams/app", "my/team/app"]],
    ["team**", ["team", "teams", "team/app/web"], ["my/team"]],
    ["**", ["a", "team/app", "a/b/c/d"], []],
    ["**/app", ["team/app", "a/b/app"], ["app", "team/app2", "team/app/web"]],
    ["*/app-*", ["team/app-1", "a/app-b-c"], ["app-1", "a/b/app-1", "team/app-1/x", "team/app"]],
    ["a/*/c/**/e", ["a/b/c/d/e", "a/b/c/d/d/e"], ["a/b/b/c/d/e", "a/b/c/e", "a/b/c/d/e/f"]],
    ["a*b*c", ["abc", "aabbcc", "a-b-c", "abcbc"], ["ab/c", "abcb", "ac"]],
    ["a.b", ["a.b"], ["a-b", "axb"]],
  ])("%s", (pattern, fitting, others) => {
    expect([...fitting, ...others].filter((name) => matchesPattern(pattern, name))).toEqual(fitting);
  });

  it("comes to an end with many stars", () => {
    expect(matchesPattern("a*".repeat(127), "a".repeat(254) + "b")).toBe(true);
    expect(matchesPattern("**a".repeat(84) + "b", "a".repeat(255))).toBe(false);
  });
});

describe("isPattern", () => {
  it.each(["app", "team/app", "*", "**", "team/*", "team/**", "**/app", "app-*", "*/app*/v1.*"])("takes %s", (text) => {
    expect(isPattern(text)).toBe(true);
  });

  it.each(["", "/", "Team/*", "team/", "/team", "team//*", "team/app:1.4", "team/[a-z]", "team/app?", "*".repeat(256)])(
    "refuses %j, which no repository's name can fit",
    (text) => expect(isPattern(text)).toBe(false),
  );
});
