import { describe, expect, it } from "vitest";
import { maxJsonDepth, parseJson, parseOciJson } from "../../src/oci/json.ts";

const json = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;
const mebibytes = (count: number): number => count * 1024 * 1024;

describe("parseJson", () => {
  it("refuses a byte order mark", () => {
    expect(() => parseJson(json("\uFEFF{}"))).toThrow(SyntaxError);
    expect(parseJson(json('{"\uFEFF":1}'))).toEqual({ "\uFEFF": 1 });
  });

  it("refuses what is no UTF-8", () => {
    expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(TypeError);
  });

  it("takes lists and objects as deep as is allowed, and none deeper", () => {
    const objects = (depth: number): string => `${'{"a":'.repeat(depth)}0${"}".repeat(depth)}`;
    for (const text of [nested(maxJsonDepth), objects(maxJsonDepth)]) expect(() => parseJson(json(text))).not.toThrow();
    for (const text of [nested(maxJsonDepth + 1), objects(maxJsonDepth + 1)]) {
      expect(() => parseJson(json(text))).toThrow(
        new SyntaxError(`found lists and objects nested ${maxJsonDepth + 1} deep, expected at most ${maxJsonDepth}`),
      );
    }
  });

  it("counts what is open, not what there is, and nothing in strings", () => {
    const siblings = `[${Array.from({ length: 200 }, () => "[{}]").join()}]`;
    expect(parseJson(json(siblings))).toHaveLength(200);
    const brackets = "[{".repeat(200);
    for (const text of [brackets, `"${brackets}`, `\\"${brackets}`, `\\\\"\\${brackets}\\`, `ü"€${brackets}`])
      expect(parseJson(json(JSON.stringify({ [text]: [text] })))).toEqual({ [text]: [text] });
    expect(() => parseJson(json(`["\\\\",${nested(maxJsonDepth)}]`))).toThrow(/nested 101 deep/);
    expect(() => parseJson(json(`"${brackets}`))).toThrow(/JSON/); // a string without an end
  });

  it.each([
    ["open lists", "[".repeat(mebibytes(4))],
    ["lists in lists", nested(mebibytes(2))],
    ["backslashes", `"${"\\\\".repeat(mebibytes(2))}`],
  ])("refuses 4 MiB of %s without holding everything up", (_, text) => {
    expect(() => parseJson(json(text))).toThrow(SyntaxError);
  });
});

describe("parseOciJson", () => {
  it.each([
    ['{"layers":[],"Layers":[]}', "Layers", "layers"],
    ['{"SCHEMAVERSION":2}', "SCHEMAVERSION", "schemaVersion"],
    ['{"layers":[{"Digest":""}]}', "Digest", "digest"],
    ['{"manifests":[[{"a":{"sizE":1}}]]}', "sizE", "size"],
    ['{"Annotations":{}}', "Annotations", "annotations"],
    ['{"subject":{"Data":""}}', "Data", "data"],
    ['{"layer\u017f":[]}', "layer\u017f", "layers"], // a long s: Go folds it into an s as well
    ['{"__proto__":{"Size":1}}', "Size", "size"],
  ])("refuses %s", (text, found, expected) => {
    expect(() => parseOciJson(json(text))).toThrow(
      new SyntaxError(`found the key "${found}", expected "${expected}" or one that differs by more than case`),
    );
  });

  it.each([
    '{"annotations":{"Size":"1","LAYERS":"2"},"layers":[{"annotations":{"Digest":"3"},"data":{"Data":1}}]}',
    '{"schemaVersion":2,"mediaType":"","config":{"digest":"","size":1,"urls":[]},"Layer":1,"layers ":2,"sizes":3}',
    '{"platform":{"os":"linux","os.version":"10"},"Config.v":null,"d\u0131gest":0}',
    '["Size",null,1]',
    "null",
  ])("takes %s", (text) => {
    expect(parseOciJson(json(text))).toEqual(JSON.parse(text));
  });

  it.each(["1.0", "1.00", "1e3", "1.5E+2", "-0.0"])(
    "refuses %s as a size, which Go's readers do not take",
    (number) => {
      expect(() => parseOciJson(json(`{"layers":[{"size" : ${number}}]}`))).toThrow(
        new SyntaxError(`found "size" : ${number}, expected digits alone`),
      );
      expect(() => parseOciJson(json(`{"schemaVersion":${number}}`))).toThrow(SyntaxError);
    },
  );

  it.each([
    `{"size":1.05}`, // not whole: whoever knows what it is the size of refuses it
    `{"ratio":1.0,"annotations":{"a":${JSON.stringify('"size":1.0')}}}`,
  ])("leaves alone %s", (text) => {
    expect(parseOciJson(json(text))).toEqual(JSON.parse(text));
  });

  it("takes the last of a key that comes twice, as Go's readers do", () => {
    expect(parseOciJson(json('{"size":1,"layers":[1],"size":2,"layers":[]}'))).toEqual({ size: 2, layers: [] });
  });

  it.each([
    ["small objects", `[${'{"s":0},'.repeat(mebibytes(4) / 8)}0]`],
    ["keys", `{${Array.from({ length: 300_000 }, (_, i) => `"s${i}":0`).join()}}`],
    ["digests", `[${'{"digest":{}},'.repeat(mebibytes(4) / 14)}0]`],
    ["a long key", `{"${"s".repeat(mebibytes(4))}":0}`],
    ["numbers", `[${"1,".repeat(mebibytes(2))}0]`],
    ["sizes", `[${'{"size":0.0001},'.repeat(mebibytes(4) / 16)}0]`],
    ["a long fraction", `{"size":0.${"0".repeat(mebibytes(4))}1}`],
  ])("looks through 4 MiB of %s without holding everything up", (_, text) => {
    // Were it quadratic, the test would not be over in time.
    expect(() => parseOciJson(json(text))).not.toThrow();
  });
});
