import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import { defaultLimits } from "../../src/limits.ts";
import { chunksOf, cutAt, randomBytes, readAll, sha256 } from "../support/bytes.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";

const directory = mkdtempSync(join(tmpdir(), "stowage-archive-"));
afterAll(() => rmSync(directory, { recursive: true }));

const longName = `${"deep/".repeat(30)}${"n".repeat(120)}`;
const files: Readonly<Record<string, Buffer>> = {
  "index.json": Buffer.from("{}"),
  empty: Buffer.alloc(0),
  "blobs/sha256/aa": randomBytes(513),
  "blobs/sha256/bb": randomBytes(2048, 2),
};

/** All archives of the system's tar. */
const packed: Buffer[] = [];

interface Read {
  readonly path: string;
  readonly type: string;
  readonly body: Buffer;
}

async function readEntries(source: AsyncIterable<Uint8Array>, maxEntries = 1000): Promise<Read[]> {
  const entries: Read[] = [];
  for await (const { path, type, body } of readArchive(source, { ...defaultLimits, maxEntries })) {
    entries.push({ path, type, body: await readAll(body) });
  }
  return entries;
}

/** Packs files with the system's own tar. */
function tar(
  contents: Readonly<Record<string, Buffer>>,
  options: readonly string[],
  names = Object.keys(contents),
): Buffer {
  const folder = mkdtempSync(join(directory, "files-"));
  for (const [name, bytes] of Object.entries(contents)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), bytes);
  }
  const archive = execFileSync("tar", ["-C", folder, ...options, "-cf", "-", ...names], { maxBuffer: 2 ** 30 });
  packed.push(archive);
  return archive;
}

/** Compares by digest: comparing large buffers element by element takes minutes. */
function expectFiles(entries: readonly Read[], contents: Readonly<Record<string, Buffer>>): void {
  const found = entries.filter(({ type }) => type === "file").map(({ path, body }) => [path, sha256(body)] as const);
  expect(Object.fromEntries(found)).toEqual(
    Object.fromEntries(Object.entries(contents).map(([path, body]) => [path, sha256(body)])),
  );
  expect(found).toHaveLength(Object.keys(contents).length);
}

describeIfFound("readArchive", missingTools(["tar"]), () => {
  it.each(["v7", "ustar", "oldgnu", "gnu", "pax"])("reads what GNU tar writes as %s", async (format) => {
    expectFiles(await readEntries(chunksOf(tar(files, [`--format=${format}`]), 1000)), files);
  });

  it.each(["ustar", "gnu", "pax"])("reads directories and names with ./ in %s", async (format) => {
    const entries = await readEntries(chunksOf(tar(files, [`--format=${format}`], ["."]), 1000));
    expectFiles(entries, files);
    expect(entries.filter(({ type }) => type === "directory").map(({ path }) => path)).toContain("blobs/sha256");
  });

  it.each(["gnu", "pax"])("reads long names in %s", async (format) => {
    const contents = { [longName]: randomBytes(100), short: randomBytes(5) };
    expectFiles(await readEntries(chunksOf(tar(contents, [`--format=${format}`]), 100)), contents);
  });

  it("reads an archive that is cut into two chunks anywhere", async () => {
    const bytes = tar(files, ["--format=pax", "--blocking-factor=1"]);
    for (let at = 0; at <= bytes.length; at += 1) expectFiles(await readEntries(cutAt(bytes, at)), files);
  });

  it.each([1, 511, 512, 513])("reads an archive in chunks of %i", async (size) => {
    expectFiles(await readEntries(chunksOf(tar(files, ["--format=gnu"]), size)), files);
  });

  it("skips bodies that nobody reads", async () => {
    const paths: string[] = [];
    for await (const { path } of readArchive(chunksOf(tar(files, []), 700), defaultLimits)) paths.push(path);
    expect(paths).toEqual(Object.keys(files));
  });

  it("refuses an archive that is cut short anywhere before its end-of-archive block", async () => {
    const bytes = tar(files, ["--format=pax", "--blocking-factor=1"]);
    const contentEnd = bytes.length - 1024;
    expect(bytes.subarray(contentEnd).every((byte) => byte === 0)).toBe(true);
    for (let length = 1; length < contentEnd + 512; length += 13) {
      await expect(readEntries(chunksOf(bytes.subarray(0, length), 512))).rejects.toMatchObject({
        code: "ARCHIVE_INVALID",
      });
    }
    await expect(readEntries(chunksOf(bytes.subarray(0, contentEnd), 512))).rejects.toThrow(
      /cut short in or after "blobs\/sha256\/bb"/,
    );
  });

  it("refuses small entries that are cut short at any byte", async () => {
    const bytes = tar({ a: Buffer.from("1"), b: Buffer.from("2") }, ["--format=ustar", "--blocking-factor=1"]);
    expect(bytes).toHaveLength(4 * 512 + 1024);
    for (let length = 0; length < bytes.length - 512; length += 7) {
      for (const chunk of [512, 10_000]) {
        await expect(readEntries(chunksOf(bytes.subarray(0, length), chunk))).rejects.toMatchObject({
          code: "ARCHIVE_INVALID",
        });
      }
    }
  });

  it("refuses a path that is too long", async () => {
    const bytes = tar({ [`${"deep/".repeat(30)}n`]: Buffer.from("1") }, [
      "--format=pax",
      `--transform=s,^,${"x/".repeat(2100)},`,
    ]);
    await expect(readEntries(chunksOf(bytes, 512))).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  });

  it("refuses a damaged header and says after which entry", async () => {
    const bytes = tar(files, ["--blocking-factor=1"]);
    bytes[1024 + 3] = 0x58; // the second entry's name, and so its checksum
    await expect(readEntries(chunksOf(bytes, 512))).rejects.toMatchObject({
      code: "ARCHIVE_INVALID",
      message: expect.stringContaining('what follows "index.json"') as string,
    });
  });

  it("refuses more entries than are allowed", async () => {
    await expect(readEntries(chunksOf(tar(files, []), 512), 3)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("4 entries or more, at most 3 are allowed (maxEntries)") as string,
    });
  });

  it("reads no further than it is asked to", async () => {
    const bytes = tar({ ...files, large: randomBytes(4_000_000) }, []);
    let read = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunksOf(bytes, 10_000)) {
        read += chunk.length;
        yield chunk;
      }
    }
    for await (const { path } of readArchive(source(), defaultLimits)) {
      if (path !== "large") continue;
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(read).toBeLessThan(1_000_000);
      break;
    }
  });

  it("passes an error of the source as it is", async () => {
    const bytes = tar(files, []);
    async function* source(): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 1500);
      throw new Error("the line went dead");
    }
    await expect(readEntries(source())).rejects.toThrow("the line went dead");
  });

  it("reads gzip, also of several members", async () => {
    const bytes = tar(files, []);
    const members = Buffer.concat([gzipSync(bytes.subarray(0, 1000)), gzipSync(bytes.subarray(1000))]);
    expectFiles(await readEntries(chunksOf(gzipSync(bytes), 100)), files);
    expectFiles(await readEntries(chunksOf(members, 100)), files);
    expectFiles(await readEntries(chunksOf(members, 100_000)), files);
  });

  it("refuses gzip that is cut short or damaged", async () => {
    const bytes = gzipSync(tar(files, []));
    await expect(readEntries(chunksOf(bytes.subarray(0, -9), 100))).rejects.toMatchObject({ code: "ARCHIVE_INVALID" });
    const damaged = Buffer.from(bytes);
    damaged[700] = (damaged[700] ?? 0) ^ 0xff;
    await expect(readEntries(chunksOf(damaged, 100))).rejects.toMatchObject({ code: "ARCHIVE_INVALID" });
  });

  it.each([
    ["an empty body", Buffer.alloc(0), "it is empty"],
    ["HTML", Buffer.from("<!doctype html><p>Not found"), "it looks like a web page"],
    [
      "a form",
      Buffer.from('------4f2e\r\nContent-Disposition: form-data; name="file"; filename="app.tar"\r\n\r\n'),
      "it is a form, as curl -F sends it (use curl -T)",
    ],
    ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00]), "it is xz-compressed"],
    ["bzip2", Buffer.from("BZh91AY"), "it is bzip2-compressed"],
    ["zip", Buffer.from("PK\u0003\u0004…"), "it is a zip file"],
    ["text as long as a header", Buffer.alloc(600, "text "), 'it starts with "text text text t"'],
  ])("refuses %s by what it found", async (_, body, found) => {
    await expect(readEntries(chunksOf(body, 100))).rejects.toMatchObject({
      code: "ARCHIVE_INVALID",
      message: `Cannot read the body as an archive: ${found}; expected a tarball, plain or compressed with gzip or zstd`,
    });
  });
});

describeIfFound("readArchive, with zstd", missingTools(["tar", "zstd"]), () => {
  const bytes = tar({ ...files, large: Buffer.alloc(3_000_000, "some text that repeats ") }, []);
  const expected = { ...files, large: Buffer.alloc(3_000_000, "some text that repeats ") };
  const zstd = (input: Buffer, ...options: string[]): Buffer =>
    execFileSync("zstd", ["-q", "-c", ...options], { input, maxBuffer: 2 ** 30 });
  const skippable = Buffer.concat([Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.alloc(5, 7)]);

  it.each([
    ["one frame", zstd(bytes)],
    ["one frame with a checksum and a large window", zstd(bytes, "--long=23", "--check")],
    ["two frames", Buffer.concat([zstd(bytes.subarray(0, 5000)), zstd(bytes.subarray(5000))])],
    ["a skippable frame first", Buffer.concat([skippable, zstd(bytes)])],
    [
      "a skippable frame between and one last",
      Buffer.concat([zstd(bytes.subarray(0, 99)), skippable, zstd(bytes.subarray(99)), skippable]),
    ],
  ])("reads %s in chunks of any size", async (_, body) => {
    expectFiles(await readEntries(chunksOf(body, 1)), expected);
    expectFiles(await readEntries(chunksOf(body, 4096)), expected);
    expectFiles(await readEntries(chunksOf(body, 10_000_000)), expected);
  });

  it("refuses what is cut short, and what follows the last frame", async () => {
    const body = zstd(bytes);
    for (const length of [5, 20, 300, body.length - 1]) {
      await expect(readEntries(chunksOf(body.subarray(0, length), 100))).rejects.toMatchObject({
        code: "ARCHIVE_INVALID",
      });
    }
    await expect(readEntries(chunksOf(Buffer.concat([body, Buffer.from("garbage")]), 100))).rejects.toThrow(
      "other bytes follow the end of the zstd stream",
    );
  });

  it("refuses a frame that wants more memory than is allowed, also a second one", async () => {
    const greedy = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0]); // window descriptor 0xff: 3.75 TiB
    for (const body of [greedy, Buffer.concat([zstd(bytes), greedy])]) {
      await expect(readEntries(chunksOf(body, 100))).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    }
  });
});

describe("the archives of the system's tar", () => {
  it("are read by tar-stream in the same way, except for the listed differences", async () => {
    for (const archive of packed) await compareReaders(archive);
  });
});
