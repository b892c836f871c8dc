import process from "node:process";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { OidcRule } from "../../src/auth/access.ts";
import { fitsClaims } from "../../src/auth/claims.ts";

const runs = {
  seed: Number(process.env["STOWAGE_TEST_SEED"] ?? 1),
  numRuns: Number(process.env["STOWAGE_TEST_RUNS"] ?? 2000),
};

function fits(pattern: string, value: unknown): boolean {
  const rule: OidcRule = { issuer: "", audience: "", claims: { claim: pattern }, actions: ["pull"], repositories: [] };
  return fitsClaims(rule, { claim: value });
}

describe("fitsClaims", () => {
  it.each([
    ["acme", "acme", true],
    ["acme", "Acme", false],
    ["acme", "acme2", false],
    ["acme", " acme", false],
    ["acme/*", "acme/app", true],
    ["acme/*", "acme/", true],
    ["acme/*", "acme", false],
    ["acme/*", "acme/app/x", false],
    ["acme/**", "acme/app/x", true],
    ["*", "acme/app", false],
    ["refs/tags/v*", "refs/tags/v1.0", true],
    ["refs/tags/v*", "refs/heads/v1", false],
    ["repo:acme/*:ref:refs/heads/main", "repo:acme/app:ref:refs/heads/main", true],
    ["a.c", "abc", false],
    ["true", true, true],
    ["true", "true", true],
    ["false", true, false],
    ["17", 17, true],
    ["1*", 17, true],
    ["9007199254740992", 2 ** 53, false],
    ["1.5", 1.5, false],
    ["b", ["a", "b"], true],
    ["b", ["a", ["b"]], false],
    ["a,b", ["a", "b"], false],
    ["**", [], false],
    ["**", "", true],
    ["**", undefined, false],
    ["null", null, false],
    ["**", { a: "b" }, false],
  ])("compares %j with %j: %s", (pattern, value, expected) => {
    expect(fits(pattern, value)).toBe(expected);
  });

  it("needs all claims, and those of the token itself alone", () => {
    const rule = { issuer: "", audience: "", actions: ["pull"], repositories: [] } as const;
    expect(fitsClaims({ ...rule, claims: { a: "1", b: "2" } }, { a: "1", b: "2", c: "3" })).toBe(true);
    expect(fitsClaims({ ...rule, claims: { a: "1", b: "2" } }, { a: "1" })).toBe(false);
    expect(fitsClaims({ ...rule, claims: { constructor: "**" } }, {})).toBe(false);
  });

  it("agrees with regular expressions", () => {
    const texts = fc.string({ unit: fc.constantFrom("a", "b", "/", "*", ".", "\n", "é"), maxLength: 8 });
    fc.assert(
      fc.property(texts, texts, (pattern, value) => {
        const source = pattern.replaceAll(/\*\*|[^]/g, (part) =>
          part === "**" ? "[^]*" : part === "*" ? "[^/]*" : part.replace(/[.]/, "\\."),
        );
        expect(fits(pattern, value)).toBe(new RegExp(`^${source}$`).test(value));
      }),
      runs,
    );
  });

  it("is equality without a star", () => {
    const texts = fc.string({ unit: fc.constantFrom("a", "A", "/", ":", ".", "[", "ß"), maxLength: 6 });
    fc.assert(
      fc.property(texts, texts, (pattern, value) => fits(pattern, value) === (pattern === value)),
      runs,
    );
  });
});
