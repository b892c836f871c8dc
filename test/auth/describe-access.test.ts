import { describe, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { describeAccess, warnOfExpiry } from "../../src/auth/describe-access.ts";

const token = (name: string, rest: Partial<Token> = {}): Token => ({
  name,
  sha256: "0".repeat(64),
  actions: ["pull"],
  repositories: ["**"],
  ...rest,
});

describe("describeAccess", () => {
  it.each([
    ["anyone", "anyone may pull, load, copy, delete and read metrics"],
    [{ tokens: [], anonymousPull: true }, "everybody may pull"],
    [{ tokens: [], anonymousPull: false }, "nobody may do anything"],
    [
      {
        tokens: [token("ci", { actions: ["load"], repositories: ["team/**", "base"] }), token("cluster")],
        anonymousPull: false,
      },
      "ci may load in team/** and base; cluster may pull; nobody else may do anything",
    ],
    [{ tokens: [token("ci")], anonymousPull: true }, "ci may pull; everybody else may pull"],
    [
      {
        tokens: [],
        anonymousPull: false,
        oidc: [
          {
            issuer: "https://issuer.example",
            audience: "stowage",
            claims: { repository_owner: "acme", ref: "refs/heads/*" },
            actions: ["pull", "load"],
            repositories: ["${repository}/**"],
          },
        ],
      },
      "repository_owner=acme and ref=refs/heads/* of https://issuer.example may pull and load in ${repository}/**; " +
        "nobody else may do anything",
    ],
  ] as const)("says of %j: %s", (access, text) => {
    expect(describeAccess(access)).toBe(text);
  });

  it("names five of many tokens, and their number", () => {
    const tokens = Array.from({ length: 1000 }, (_, i) => token(`t${i}`));
    expect(describeAccess({ tokens, anonymousPull: false })).toMatch(/t19 may pull; 980 more tokens; nobody else/);
  });
});

describe("warnOfExpiry", () => {
  const now = Date.parse("2027-03-31T12:00:00Z");

  it.each([
    ["2027-04-15T12:00:00Z", []],
    ["2027-04-14T11:00:00Z", ['the token "ci" expires at 2027-04-14T11:00:00.000Z; `stowage token ci` makes another']],
    ["2027-03-31T12:00:00Z", ['the token "ci" expired at 2027-03-31T12:00:00.000Z; `stowage token ci` makes another']],
  ])("says of a token that expires at %s: %j", (expires, expected) => {
    expect(warnOfExpiry([token("ci", { expires: new Date(expires) }), token("other")], now)).toEqual(expected);
  });
});
