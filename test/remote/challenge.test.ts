import { describe, expect, it } from "vitest";
import { parseChallenges } from "../../src/remote/authorizer.ts";

const read = (header: string): unknown =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("parseChallenges", () => {
  it.each<[string, unknown]>([
    [
      'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"',
      [["bearer", { realm: "https://auth.example/token", service: "reg", scope: "repository:a/b:pull,push" }]],
    ],
    ['BASIC Realm = "a \\"b\\"" , charset=UTF-8', [["basic", { realm: 'a "b"', charset: "UTF-8" }]]],
    [
      'Basic realm="x", Bearer realm="y"',
      [
        ["basic", { realm: "x" }],
        ["bearer", { realm: "y" }],
      ],
    ],
    [
      "Negotiate, Basic",
      [
        ["negotiate", {}],
        ["basic", {}],
      ],
    ],
    ["Basic", [["basic", {}]]],
    ['realm="nobody\'s"', []],
    ["", []],
    ['Bearer realm="open', [["bearer", { realm: "" }]]],
  ])("reads %j", (header, expected) => {
    expect(read(header)).toEqual(expected);
  });

  it("takes a time that grows as the header does", () => {
    for (const part of [" ", ",", "a", "a=", 'a="', "\\", 'a="\\']) parseChallenges(`Bearer ${part.repeat(100_000)}`);
  });
});
