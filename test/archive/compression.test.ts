import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import { type Limits, defaultLimits } from "../../src/limits.ts";
import { chunksOf, cutAt, randomBytes } from "../support/bytes.ts";
import { rawEntry, rawTar } from "../support/raw-tar.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";

type Source = Uint8Array | AsyncIterable<Uint8Array>;

async function read(source: Source, limits: Partial<Limits> = {}): Promise<string[]> {
  const chunks = source instanceof Uint8Array ? chunksOf(source, 1000) : source;
  const paths: string[] = [];
  for await (const { path } of readArchive(chunks, { ...defaultLimits, ...limits })) paths.push(path);
  return paths;
}

async function expectRefused(source: Source, code: string, message: string | RegExp): Promise<void> {
  await expect(read(source)).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
}

/** In the ways in which chunks can lie about an end: one by itself, all in one, byte by byte. */
async function expectRefusedInAnyChunks(parts: readonly Buffer[], message: RegExp): Promise<void> {
  const all = Buffer.concat(parts);
  const separate = async function* (): AsyncGenerator<Uint8Array> {
    yield* parts;
  };
  for (const source of [separate(), chunksOf(all, 1), chunksOf(all, 1_000_000)]) {
    await expectRefused(source, "ARCHIVE_INVALID", message);
  }
}

const tar = rawTar([
  { name: "a", bytes: randomBytes(700) },
  { name: "b", bytes: randomBytes(1) },
]);
const zeros = Buffer.alloc(700);
const garbage = Buffer.from("garbage");

/** A tar with one file of so many zeros, in pieces. */
function* zeroTar(mebibytes: number): Generator<Buffer> {
  const mebibyte = Buffer.alloc(1024 * 1024);
  yield rawEntry({ name: "zeros", size: mebibytes * mebibyte.length });
  for (let i = 0; i < mebibytes; i++) yield mebibyte;
  yield Buffer.alloc(1024);
}

/** Members of gzip, one for each piece, the same for the same piece. */
async function* gzipBomb(mebibytes: number): AsyncGenerator<Uint8Array> {
  let before: { readonly piece: Buffer; readonly member: Buffer } | undefined;
  for (const piece of zeroTar(mebibytes)) {
    if (before?.piece !== piece) before = { piece, member: gzipSync(piece) };
    yield before.member;
  }
}

describe("readArchive, of gzip", () => {
  const whole = gzipSync(tar);

  it("reads it, cut anywhere", async () => {
    for (let at = 0; at <= whole.length; at++) expect(await read(cutAt(whole, at))).toEqual(["a", "b"]);
  });

  it("reads several members, and zeros that fill up a tape", async () => {
    const members = [gzipSync(tar.subarray(0, 700)), gzipSync(Buffer.alloc(0)), gzipSync(tar.subarray(700))];
    const bytes = Buffer.concat([...members, zeros]);
    for (const size of [1, 100, 10_000]) expect(await read(chunksOf(bytes, size))).toEqual(["a", "b"]);
  });

  it("refuses what is cut short anywhere", async () => {
    for (let length = 0; length < whole.length; length++) {
      await expectRefused(chunksOf(whole.subarray(0, length), 2000), "ARCHIVE_INVALID", /^Cannot (?:read|decompress)/);
    }
  });

  it.each<[string, readonly Buffer[]]>([
    ["garbage", [whole, garbage]],
    ["zeros and garbage", [whole, zeros, garbage]],
    ["zeros and much garbage", [whole, zeros, randomBytes(200_000)]],
    ["zeros and another member", [whole, zeros, whole]],
    ["another archive", [whole, whole]],
    ["half a member", [whole, whole.subarray(0, 50)]],
  ])("refuses it with %s behind", async (_, parts) => {
    await expectRefusedInAnyChunks(parts, /other bytes follow the end of the (?:gzip stream|tar)|Cannot decompress/);
  });

  it("refuses a checksum, a length and content that are wrong", async () => {
    for (const at of [whole.length - 8, whole.length - 4, 100]) {
      const bad = Buffer.from(whole);
      bad[at] = (bad[at] ?? 0) ^ 1;
      await expectRefused(bad, "ARCHIVE_INVALID", /^Cannot (?:decompress the gzip body|read)/);
    }
  });

  it("refuses what was compressed twice, and what holds no tar", async () => {
    const start = /^Cannot read what the gzip body holds as an archive: /;
    await expectRefused(
      gzipSync(whole),
      "ARCHIVE_INVALID",
      new RegExp(`${start.source}it is gzip-compressed, once more`),
    );
    await expectRefused(gzipSync("<html>"), "ARCHIVE_INVALID", new RegExp(`${start.source}it looks like a web page`));
    await expectRefused(gzipSync(""), "ARCHIVE_INVALID", new RegExp(`${start.source}it is empty`));
  });
});

describe("readArchive, of what expands", () => {
  it("refuses more bytes than the limit's ratio, soon", async () => {
    let sent = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for await (const chunk of gzipBomb(2000)) {
        sent += chunk.length;
        yield chunk;
      }
    }
    await expect(read(source())).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringMatching(
        /its first \d+ bytes expand to \d+; for each byte, at most 100 are allowed \(maxExpansionRatio\)/,
      ) as string,
      detail: { limit: "maxExpansionRatio", expected: 100 },
    });
    expect(sent).toBeLessThan(300_000);
  });

  it("takes a ratio that is allowed, and any of what is small", async () => {
    expect(await read(gzipBomb(70), { maxExpansionRatio: 2000 })).toEqual(["zeros"]);
    expect(await read(gzipBomb(50), { maxExpansionRatio: 1 })).toEqual(["zeros"]);
  });

  it("refuses more bytes than are allowed at all, of a compressed body alone", async () => {
    await expect(read(gzipSync(tar), { maxExpandedBytes: tar.length - 1 })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: `Cannot decompress the gzip body: it expands to ${tar.length} bytes or more, at most ${tar.length - 1} are allowed (maxExpandedBytes)`,
    });
    expect(await read(gzipSync(tar), { maxExpandedBytes: tar.length })).toEqual(["a", "b"]);
    expect(await read(tar, { maxExpandedBytes: 1, maxExpansionRatio: 1 })).toEqual(["a", "b"]);
  });
});

describeIfFound("readArchive, of zstd", missingTools(["zstd"]), () => {
  const zstd = (input: Uint8Array): Buffer => execFileSync("zstd", ["-q", "-c"], { input });
  const whole = zstd(tar);

  it("reads it, cut anywhere", async () => {
    for (let at = 0; at <= whole.length; at += 3) expect(await read(cutAt(whole, at))).toEqual(["a", "b"]);
  });

  it("refuses what is cut short anywhere", async () => {
    for (let length = 0; length < whole.length; length += 3) {
      await expectRefused(chunksOf(whole.subarray(0, length), 2000), "ARCHIVE_INVALID", /^Cannot (?:read|decompress)/);
    }
  });

  it("takes zeros behind it, and nothing else", async () => {
    expect(await read(Buffer.concat([whole, zeros]))).toEqual(["a", "b"]);
    for (const parts of [
      [whole, garbage],
      [whole, zeros, garbage],
      [whole, whole.subarray(0, 50)],
    ]) {
      await expectRefusedInAnyChunks(parts, /other bytes follow the end of the (?:zstd stream|tar)|Cannot decompress/);
    }
  });

  it("refuses what expands beyond the limit's ratio", async () => {
    const bomb = zstd(Buffer.concat([...zeroTar(80)]));
    expect(bomb.length).toBeLessThan(20_000);
    await expectRefused(bomb, "LIMIT_EXCEEDED", /for each byte, at most 100 are allowed \(maxExpansionRatio\)/);
  });

  it("refuses what was compressed twice, also in two ways", async () => {
    await expectRefused(
      zstd(whole),
      "ARCHIVE_INVALID",
      /what the zstd body holds as an archive: it is zstd-compressed, once more/,
    );
    await expectRefused(
      gzipSync(whole),
      "ARCHIVE_INVALID",
      /what the gzip body holds as an archive: it is zstd-compressed/,
    );
  });

  it("refuses more frames than anybody writes", async () => {
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    const many = (count: number): Buffer => Buffer.concat([...Array.from({ length: count }, () => skippable), whole]);
    expect(await read(chunksOf(many(49_999), 65_536))).toEqual(["a", "b"]);
    await expectRefused(
      chunksOf(many(50_000), 65_536),
      "LIMIT_EXCEEDED",
      /it has 50001 frames or more, at most 50000 are allowed/,
    );
  });
});

describe("readArchive, of what is no tarball", () => {
  it.each<[string, string, RegExp]>([
    [
      "a web page",
      "\n<!DOCTYPE html><title>404</title>",
      /the body as an archive: it looks like a web page; expected a tarball/,
    ],
    ["a web page without a doctype", "<html>", /it looks like a web page/],
    ["XML", '<?xml version="1.0"?><Error>', /it looks like a web page/],
    ["JSON", '{"errors":[]}', /it looks like JSON/],
    ["lz4", "\x04\x22\x4d\x18", /it is lz4-compressed/],
    ["a SIF file", "hsqs", /it is a SquashFS or SIF file/],
    ["anything else", "\x7fELF", /it starts with "\\u007fELF"; expected a tarball/],
    ["nothing", "", /it is empty/],
  ])("refuses %s, and says what it is", async (_, text, message) => {
    for (const size of [1, 1000])
      await expectRefused(chunksOf(Buffer.from(text, "latin1"), size), "ARCHIVE_INVALID", message);
  });
});
