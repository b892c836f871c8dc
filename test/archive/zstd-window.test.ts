import zlib from "node:zlib";
import { describe, expect, it } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import { defaultLimits } from "../../src/limits.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { zstdFrame } from "../support/zstd.ts";

const usual = 2 ** 23;
const tarball = await tarOf(makeLayout({ layers: [randomBytes(400_000)] }));

/** Reads an archive of two frames with these windows; returns what was asked for, and whether it was given back. */
async function windowsHeld(first: number, second: number): Promise<{ asked: number[]; released: number }> {
  const asked: number[] = [];
  let released = 0;
  const bytes = Buffer.concat([zstdFrame(tarball.subarray(0, 1000), first), zstdFrame(tarball.subarray(1000), second)]);
  const holdWindow = async (count: number): Promise<() => void> => {
    asked.push(count);
    return () => void released++;
  };
  try {
    for await (const { body } of readArchive(chunksOf(bytes, 5000), { ...defaultLimits, holdWindow })) {
      for await (const _ of body);
    }
    return { asked, released };
  } catch (error) {
    expect(released).toBe(asked.length);
    throw error;
  }
}

describe("readArchive, of zstd frames", () => {
  it("asks once for the memory of a window, and gives it back", async () => {
    expect(await windowsHeld(23, 23)).toEqual({ asked: [usual], released: 1 });
    expect(await windowsHeld(10, 22)).toEqual({ asked: [usual], released: 1 });
  });

  /** Node before 22.15 refuses it as the first as well. */
  const why =
    "createZstdDecompress" in zlib
      ? " after a first frame that needs no more"
      : " (Node 22.15 or later takes 134217728)";

  it("refuses a window that is larger than what it has asked for, or than any may be", async () => {
    await expect(windowsHeld(20, 24)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: `Cannot decompress the zstd body: it needs a window of 16777216 bytes${why}, at most ${usual} are allowed`,
    });
    await expect(windowsHeld(28, 20)).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  });
});
