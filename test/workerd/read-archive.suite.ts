import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import { defaultLimits } from "../../src/limits.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { readWithStowage, readWithTarStream } from "../support/compare-readers.ts";
import { rawTar } from "../support/raw-tar.ts";

const tar = rawTar([{ name: "a", bytes: randomBytes(700) }]);
const gzip = gzipSync(tar);
const zeros = Buffer.alloc(700);

async function* separate(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

async function read(source: AsyncIterable<Uint8Array>): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of readArchive(source, defaultLimits)) paths.push(path);
  return paths;
}

describe("readArchive, with the platform's own gzip", () => {
  it.each<[string, readonly Buffer[]]>([
    ["as it is", [gzip]],
    ["in several members", [gzipSync(tar.subarray(0, 600)), gzipSync(tar.subarray(600))]],
    ["with zeros behind", [gzip, zeros, zeros]],
  ])("reads it %s", async (_, parts) => {
    expect(await read(separate(parts))).toEqual(["a"]);
    for (const size of [1, 100, 10_000]) expect(await read(chunksOf(Buffer.concat(parts), size))).toEqual(["a"]);
  });

  it.each<[string, readonly Buffer[]]>([
    ["cut short", [gzip.subarray(0, -1)]],
    ["with other bytes behind", [gzip, randomBytes(100)]],
    ["with zeros and other bytes behind", [gzip, zeros, randomBytes(200_000)]],
    ["with zeros and another member behind", [gzip, zeros, gzip]],
  ])("refuses it %s", async (_, parts) => {
    const sources = [separate(parts), chunksOf(Buffer.concat(parts), 1), chunksOf(Buffer.concat(parts), 1_000_000)];
    for (const source of sources) await expect(read(source)).rejects.toMatchObject({ code: "ARCHIVE_INVALID" });
  });
});

describe("a name that begins with a byte order mark", () => {
  it("keeps the mark, and loses it by tar-stream on Workers alone", async () => {
    const marked = rawTar([{ name: "\uFEFFindex.json", bytes: Buffer.from("{}") }]);
    expect((await readWithStowage(marked)).entries).toMatchObject([{ path: "\uFEFFindex.json" }]);
    expect((await readWithTarStream(marked)).entries).toMatchObject([{ path: "index.json" }]);
  });
});
