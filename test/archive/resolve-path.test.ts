import { describe, expect, it } from "vitest";
import { folderOf, resolvePath } from "../../src/archive/entry-path.ts";

describe("resolvePath", () => {
  it.each([
    ["layer.tar", "", "layer.tar"],
    ["./a/./b//c", "", "a/b/c"],
    ["../b/layer.tar", "a", "b/layer.tar"],
    ["../../c", "a/b", "c"],
    ["a/../b", "", "b"],
    [".", "", ""],
  ])("takes %j in %j for %j", (path, folder, expected) => {
    expect(resolvePath(path, folder)).toBe(expected);
  });

  it.each([
    ["/etc/passwd", "a"],
    ["../x", ""],
    ["../../x", "a"],
    ["a/../../x/../a", ""],
  ])("finds that %j in %j leads out of the archive", (path, folder) => {
    expect(resolvePath(path, folder)).toBeUndefined();
  });
});

describe("folderOf", () => {
  it.each([
    ["a/b/c", "a/b"],
    ["a", ""],
    ["", ""],
  ])("is for %j %j", (path, folder) => {
    expect(folderOf(path)).toBe(folder);
  });
});
