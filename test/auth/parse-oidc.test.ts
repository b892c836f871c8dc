import { describe, expect, it } from "vitest";
import { parseOidcRules } from "../../src/auth/parse-oidc.ts";

const github = {
  issuer: "https://token.actions.githubusercontent.com",
  audience: "https://stowage.example",
  claims: { repository_owner: "acme", ref: "refs/heads/*" },
  actions: ["pull", "load"],
  repositories: ["${repository}", "${repository}/**"],
};

function problemsOf(setting: unknown): readonly string[] {
  return parseOidcRules(typeof setting === "string" ? setting : JSON.stringify(setting)).problems;
}

describe("parseOidcRules", () => {
  it("reads a list of rules", () => {
    const local = { ...github, issuer: "http://127.0.0.1:8080/realms/ci/", repositories: ["ci-${a}/${b.c}-*"] };
    expect(parseOidcRules(JSON.stringify([github, local]))).toEqual({ entries: [github, local], problems: [] });
  });

  it("tells no setting from a list of nobody", () => {
    expect(parseOidcRules("")).toEqual({ entries: undefined, problems: [] });
    expect(parseOidcRules("[]")).toEqual({ entries: [], problems: [] });
  });

  it.each([
    ["no JSON", "{", [/^found no JSON, expected a JSON list$/]],
    ["a rule without a list", github, [/^found an object, expected a JSON list$/]],
    [
      "an issuer without TLS",
      { issuer: "http://issuer.example" },
      [/^entry 1 of 1: issuer is a text of 21 .*, expected https:/],
    ],
    ["an issuer that looks like this machine", { issuer: "http://127.0.0.1.example" }, [/issuer is a text/]],
    ["an issuer with a query", { issuer: "https://issuer.example/?a" }, [/issuer is a text/]],
    ["an issuer with a fragment", { issuer: "https://issuer.example/#a" }, [/issuer is a text/]],
    ["an issuer with a password", { issuer: "https://a:b@issuer.example" }, [/issuer is a text/]],
    ["an issuer that is no address", { issuer: "https://[" }, [/issuer is a text/]],
    ["an issuer in a file", { issuer: "file:///etc/keys" }, [/issuer is a text/]],
    ["no issuer", { issuer: undefined }, [/issuer is not there/]],
    ["no audience", { audience: "" }, [/audience is a text of 0 characters, expected a text$/]],
    ["a list of audiences", { audience: ["a"] }, [/audience is a list of something else/]],
    [
      "no claims, which lets in the world",
      { claims: undefined },
      [/claims is not there, expected an object of .*, at least one,/],
    ],
    ["empty claims", { claims: {} }, [/claims is an empty object, expected an object of .*, at least one,/]],
    ["a claim without a pattern", { claims: { ref: "" } }, [/claims is an object, expected/]],
    ["a claim that is no text", { claims: { ref: true } }, [/claims is an object, expected/]],
    ["an unknown action", { actions: ["push"] }, [/actions is a list of something else, expected a list of "pull"/]],
    ["no repositories", { repositories: undefined }, [/repositories is not there, expected a list/]],
    [
      "a name that no repository has",
      { repositories: ["Team/*"] },
      [/repositories is a list of something else, expected/],
    ],
    ["a claim that does not end", { repositories: ["${a"] }, [/repositories is a list of something else/]],
    ["a claim without a name", { repositories: ["${}"] }, [/repositories is a list of something else/]],
    ["a claim in a claim", { repositories: ["${a${b}}"] }, [/repositories is a list of something else/]],
    [
      "a misspelt property",
      { audiences: "x" },
      [/^entry 1 of 1: found a property that means nothing, expected issuer, aud/],
    ],
    ["several things at once", { issuer: "x", claims: [] }, [/issuer is a text/, /claims is an empty list/]],
  ])("reports %s", (_, wrong, expected) => {
    const isWhole = typeof wrong === "string" || wrong === github;
    const problems = problemsOf(isWhole ? wrong : [{ ...github, ...wrong }]);
    expect(problems).toHaveLength(expected.length);
    for (const [i, message] of expected.entries()) expect(problems[i]).toMatch(message);
  });
});
