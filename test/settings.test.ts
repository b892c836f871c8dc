import { describe, expect, it } from "vitest";
import { variablesOf } from "../src/settings/settings.ts";

class Bucket {
  readonly name = "images";
}

describe("variablesOf", () => {
  it("takes strings as they are, and JSON as what a string would say", () => {
    const settings = { A: "a", B: true, C: 5, D: [{ name: "ci" }], E: { name: "ci" }, F: undefined };
    expect(variablesOf(settings)).toEqual({ A: "a", B: "true", C: "5", D: '[{"name":"ci"}]', E: '{"name":"ci"}' });
  });

  it("leaves out the bindings of a Worker", () => {
    expect(variablesOf({ IMAGES: new Bucket(), queue: () => undefined })).toEqual({});
  });
});
