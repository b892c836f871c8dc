import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { makeLayout, tarOf } from "../support/layout.ts";
import { newFolder, stowage } from "../support/run-stowage.ts";

describe.each([["ls"], ["verify"], ["gc"], ["rm", "team/app:1"]])(
  "stowage %s, where no store is",
  (command, ...args) => {
    let folder: string;
    beforeAll(async () => {
      folder = await newFolder();
      await writeFile(join(folder, "file"), "no folder");
      await mkdir(join(folder, "other/blobs"), { recursive: true });
      await writeFile(join(folder, "other/README"), "no store");
    });

    it.each(["file:./typo", "file:./file", "file:./other", "memory:"])("says so and exits with 1: %s", async (url) => {
      const before = await readdir(folder, { recursive: true });
      expect(await stowage([command, ...args, "--store", url], { cwd: folder })).toEqual({
        code: 1,
        stdout: "",
        stderr: `stowage ${command}: there is no Stowage store in ${url}\n`,
      });
      expect(await readdir(folder, { recursive: true })).toEqual(before);
    });

    it("takes a copy of a store that has no oci-layout", async () => {
      const cwd = await newFolder();
      await stowage(["load", "-", "team/app:1"], { cwd, input: await tarOf(makeLayout()) });
      await rm(join(cwd, "data/oci-layout"));
      expect(await stowage([command, ...args], { cwd })).toMatchObject({ code: 0 });
    });
  },
);
