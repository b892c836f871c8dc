import { describe, expect, it } from "vitest";
import { type ArchiveEntry, readArchive } from "../../src/archive/read-archive.ts";
import { type Limits, defaultLimits } from "../../src/limits.ts";
import { chunksOf, cutAt, randomBytes, readAll } from "../support/bytes.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { type RawEntry, base256, longNameEntry, paxEntry, paxRecord, rawEntry, rawTar } from "../support/raw-tar.ts";

type Read = Pick<ArchiveEntry, "path" | "type" | "linkTarget" | "label"> & { readonly body: Buffer };

async function read(source: Uint8Array | AsyncIterable<Uint8Array>, limits: Partial<Limits> = {}): Promise<Read[]> {
  const chunks = source instanceof Uint8Array ? chunksOf(source, 700) : source;
  if (source instanceof Uint8Array) await compareReaders(source);
  const entries: Read[] = [];
  for await (const { path, type, linkTarget, label, body } of readArchive(chunks, { ...defaultLimits, ...limits })) {
    entries.push({ path, type, linkTarget, ...(label !== undefined && { label }), body: await readAll(body) });
  }
  return entries;
}

async function expectRefused(bytes: Uint8Array, code: string, message: string | RegExp): Promise<void> {
  const refused = { code, message: expect.stringMatching(message) as string };
  await expect(read(bytes)).rejects.toMatchObject(refused);
  await expect(read(chunksOf(bytes, 1_000_000))).rejects.toMatchObject(refused);
}

const hello = Buffer.from("hello");
const file: RawEntry = { name: "a", bytes: hello };
const longName = `${"deep/".repeat(60)}n`;

describe("readArchive, of tars made by hand", () => {
  it.each<[string, readonly RawEntry[], Partial<Read>]>([
    ["a file", [file], { path: "a", type: "file", body: hello }],
    ["a file without a type, as in V7", [{ ...file, type: "\0", magic: "" }], { path: "a", type: "file", body: hello }],
    ["a directory as in V7", [{ name: "d/", type: "\0", magic: "" }], { path: "d", type: "directory" }],
    ["a contiguous file", [{ ...file, type: "7" }], { path: "a", type: "contiguous-file", body: hello }],
    ["a size in base 256", [{ ...file, size: base256(5n) }], { path: "a", body: hello }],
    ["a size with spaces around", [{ ...file, size: Buffer.from("         5  ") }], { body: hello }],
    ["no size", [{ name: "a", size: Buffer.alloc(12) }], { body: Buffer.alloc(0) }],
    [
      "pax's path and size",
      [paxEntry({ path: longName, size: "5" }), { ...file, size: 0 }],
      { path: longName, body: hello },
    ],
    ["pax's target of a link", [paxEntry({ linkpath: longName }), { name: "a", type: "2" }], { linkTarget: longName }],
    ["a path that pax leaves empty", [paxEntry({ path: "" }), file], { path: "a" }],
    ["records of others", [paxEntry({ mtime: "1.5", "SCHILY.xattr.user.a": "=\n=" }), file], { path: "a" }],
    ["GNU's long name", [longNameEntry(longName), file], { path: longName, body: hello }],
    [
      "GNU's long target",
      [longNameEntry(longName, "K"), { name: "a", type: "1" }],
      { linkTarget: longName, type: "link" },
    ],
    ["one path from pax and GNU", [longNameEntry("b"), paxEntry({ path: "b" }), file], { path: "b", body: hello }],
    ["GNU's long name and pax's time", [paxEntry({ mtime: "1.5" }), longNameEntry("b"), file], { path: "b" }],
    ["a comment for all", [paxEntry({ comment: "made by git" }, "g"), file], { path: "a" }],
    [
      "dots and slashes in a path",
      [{ ...file, name: "./x//./y/", type: "5", bytes: Buffer.alloc(0) }],
      { path: "x/y" },
    ],
    ["a directory of some size, behind which nothing comes", [{ name: "d/", type: "5", size: 4096 }], { path: "d" }],
    [
      "a volume's label, which is no path",
      [{ name: "/../label\\", type: "V" }],
      { path: "", type: "volume-label", label: "/../label\\" },
    ],
    [
      "a volume's label that looks like a part",
      [{ name: "index.json", type: "V" }],
      { path: "", type: "volume-label", label: "index.json" },
    ],
    ["Solaris's extended header", [paxEntry({ path: longName }, "X"), file], { path: longName, body: hello }],
    [
      "two comments for all in a row",
      [paxEntry({ comment: "a" }, "g"), paxEntry({ comment: "b" }, "g"), file],
      { path: "a", body: hello },
    ],
    [
      "comments for all around an entry's own header, and at the end",
      [
        paxEntry({ comment: "a" }, "g"),
        paxEntry({ path: "b" }),
        paxEntry({ comment: "c" }, "g"),
        file,
        paxEntry({ comment: "d" }, "g"),
      ],
      { path: "b", body: hello },
    ],
    [
      "a name that begins with a byte order mark",
      [{ ...file, name: "\uFEFFindex.json" }],
      { path: "\uFEFFindex.json" },
    ],
    ["such a name from pax", [paxEntry({ path: "\uFEFFindex.json" }), file], { path: "\uFEFFindex.json" }],
    ["such a name from GNU", [longNameEntry("\uFEFFindex.json"), file], { path: "\uFEFFindex.json" }],
    ["a target with one", [{ name: "a", type: "2", linkTarget: "\uFEFFb" }], { linkTarget: "\uFEFFb" }],
    ["a record whose key has one", [paxEntry({ "\uFEFFpath": "b" }), file], { path: "a" }],
    [
      "a sum of signed bytes",
      [{ ...file, name: "\u00e9", spoil: (header) => header.write(signedSum(header), 148) }],
      { path: "\u00e9", body: hello },
    ],
  ])("reads %s, cut anywhere", async (_, entries, expected) => {
    const bytes = rawTar(entries);
    await compareReaders(bytes);
    for (let at = 0; at <= bytes.length; at++) expect(await read(cutAt(bytes, at))).toMatchObject([expected]);
    expect(await read(chunksOf(bytes, 1))).toMatchObject([expected]);
  });

  it.each<[string, RawEntry, RegExp]>([
    ["negative", { ...file, size: base256(-5n) }, /its size is negative/],
    ["beyond 2^53", { ...file, size: base256(2n ** 53n) }, /its size is beyond 2\^53 bytes/],
    ["beyond 2^64", { ...file, size: base256(2n ** 70n) }, /its size is beyond 2\^53 bytes/],
    [
      "no number",
      { ...file, size: Buffer.from("0000000005x\0") },
      /its size is "0000000005x.*", expected octal digits/,
    ],
    ["decimal", { ...file, size: Buffer.from("00000000009\0") }, /expected octal digits/],
    ["two numbers", { ...file, size: Buffer.from("00005 00005\0") }, /expected octal digits/],
    ["with a minus", { ...file, size: Buffer.from("-0000000005\0") }, /expected octal digits/],
    ["of a symbolic link", { name: "l", type: "2", size: 5, bytes: hello }, /found a symlink of 5 bytes/],
    ["of a hard link", { name: "l", type: "1", size: 5, bytes: hello }, /found a link of 5 bytes/],
    ["of a device", { name: "l", type: "3", size: 5, bytes: hello }, /found a character-device of 5 bytes/],
    ["of a name that ends with a slash", { name: "l/", bytes: hello }, /found a directory of 5 bytes/],
  ])("refuses a size that is %s", async (_, entry, message) => {
    await expectRefused(rawTar([entry, file]), "ARCHIVE_INVALID", message);
  });

  it("refuses a directory of which pax's header says a size, or behind which bytes come", async () => {
    const directory: RawEntry = { name: "d/", type: "5" };
    const sized = rawTar([paxEntry({ size: "5" }), directory, file]);
    await expectRefused(sized, "ARCHIVE_INVALID", /found a directory of 5 bytes, expected none/);
    const filled = rawTar([{ ...directory, bytes: hello }, file]);
    await expectRefused(filled, "ARCHIVE_INVALID", /what follows "d" in the archive: .* its checksum is wrong/);
  });

  it("refuses sizes that lie in either direction", async () => {
    const body = randomBytes(1500);
    await expectRefused(rawTar([{ name: "a", bytes: body, size: 500 }, file]), "ARCHIVE_INVALID", /checksum is wrong/);
    await expectRefused(rawTar([{ name: "a", bytes: body, size: 9999 }, file]), "ARCHIVE_INVALID", /cut short/);
    const last = [file, { name: "b", bytes: hello, size: 5000 }];
    await expectRefused(
      rawTar(last),
      "ARCHIVE_INVALID",
      /cut short in or after "b", 3072 bytes of tar arrived, expected at least 6536/,
    );
  });

  it.each<[string, RawEntry, string, RegExp]>([
    ["a decimal fraction", paxEntry({ size: "1.5" }), "ARCHIVE_INVALID", /its size is "1.5", expected a whole number/],
    ["a negative one", paxEntry({ size: "-1" }), "ARCHIVE_INVALID", /its size is "-1"/],
    ["one beyond 2^53", paxEntry({ size: "9007199254740993" }), "ARCHIVE_INVALID", /expected a whole number of bytes/],
  ])("refuses pax's size that is %s", async (_, pax, code, message) => {
    await expectRefused(rawTar([pax, file]), code, message);
  });

  it.each<[string, string]>([
    ["no length", "path=a\n"],
    ["a length that is too long", "99 path=a\n"],
    ["a length that is too short", "5 path=a\n"],
    ["a length of nothing", "0 path=a\n"],
    ["a length with a sign", "+10 path=a\n"],
    ["a length of many digits", "0000000010 path=abc\n"],
    ["no value", "8 patha\n"],
    ["zeros at its end", "10 path=a\n\0\0"],
  ])("refuses an extended header with %s", async (_, text) => {
    await expectRefused(rawTar([{ type: "x", bytes: Buffer.from(text) }, file]), "ARCHIVE_INVALID", /extended header/);
  });

  it("refuses an extended header that stands before nothing, or beside another", async () => {
    const pax = paxEntry({ path: "b" });
    await expectRefused(rawTar([file, pax]), "ARCHIVE_INVALID", /stands before no entry/);
    await expectRefused(rawTar([pax, pax, file]), "ARCHIVE_INVALID", /two extended headers of type "x"/);
    await expectRefused(rawTar([pax, paxEntry({}, "X"), file]), "ARCHIVE_INVALID", /two extended headers of type "X"/);
    await expectRefused(rawTar([longNameEntry("b"), longNameEntry("c"), file]), "ARCHIVE_INVALID", /of type "L"/);
  });

  it("refuses a path, or a target, that is another in pax's header and in GNU's: readers take the one or the other", async () => {
    const message = /pax's extended header says "pax", and GNU's "gnu"/;
    const paths = [longNameEntry("gnu"), paxEntry({ path: "pax" })];
    const targets = [longNameEntry("gnu", "K"), paxEntry({ linkpath: "pax" })];
    for (const pair of [paths, paths.toReversed()])
      await expectRefused(rawTar([...pair, file]), "ARCHIVE_INVALID", message);
    await expectRefused(rawTar([...targets, { name: "a", type: "2" }]), "ARCHIVE_INVALID", message);
  });

  it.each(["path", "linkpath", "size"])("refuses a %s for all entries", async (key) => {
    const message = /a global extended header sets the \w+ of all entries/;
    await expectRefused(rawTar([paxEntry({ [key]: "5" }, "g"), file]), "ARCHIVE_INVALID", message);
  });

  it.each<[string, readonly RawEntry[]]>([
    ["GNU's old format", [{ ...file, type: "S", magic: "ustar " }]],
    ["pax 0.0", [paxEntry({ "GNU.sparse.size": "5", "GNU.sparse.numblocks": "1" }), file]],
    ["pax 0.1", [paxEntry({ "GNU.sparse.map": "0,5" }), file]],
    ["pax 1.0", [paxEntry({ "GNU.sparse.major": "1", "GNU.sparse.realsize": "5" }), file]],
    ["star", [paxEntry({ "SCHILY.realsize": "5" }), file]],
  ])("refuses sparse files of %s", async (_, entries) => {
    await expectRefused(
      rawTar(entries),
      "UNSUPPORTED",
      /it is a sparse file; .* without --sparse, and bsdtar with --no-read-sparse$/,
    );
  });

  it("refuses the second volume of an archive", async () => {
    await expectRefused(rawTar([{ ...file, type: "M" }]), "UNSUPPORTED", /goes on from another volume/);
  });

  it.each<[string, string, RegExp]>([
    ["../a", "ARCHIVE_INVALID", /found the path "\.\.\/a", which has a "\.\." in it/],
    ["a/../../b", "ARCHIVE_INVALID", /has a ".." in it/],
    ["a/..", "ARCHIVE_INVALID", /has a ".." in it/],
    ["..", "ARCHIVE_INVALID", /has a ".." in it/],
    ["/etc/passwd", "ARCHIVE_INVALID", /found the path "\/etc\/passwd", which is absolute/],
    [`/blobs/sha256/${"a".repeat(64)}`, "ARCHIVE_INVALID", /is absolute/],
    ["//a", "ARCHIVE_INVALID", /is absolute/],
    [`//sha256:${"a".repeat(64)}.tar`, "ARCHIVE_INVALID", /is absolute/],
    [`/x/sha256:${"a".repeat(64)}.tar`, "ARCHIVE_INVALID", /is absolute/],
    ["blobs\\sha256\\a", "ARCHIVE_INVALID", /has a backslash in it; expected slashes/],
    ["index.json\0.txt", "ARCHIVE_INVALID", /has a zero byte in it/],
    ["x".repeat(4097), "LIMIT_EXCEEDED", /a path that starts with "x+" has 4097 characters, at most 4096 are allowed/],
  ])("refuses the path %j", async (path, code, message) => {
    await expectRefused(rawTar([paxEntry({ path }), file]), code, message);
    await expectRefused(rawTar([longNameEntry(path), file]), code, message);
    if (path.length < 100 && !path.includes("\0"))
      await expectRefused(rawTar([{ ...file, name: path }]), code, message);
  });

  it("refuses a link's target that is longer than any path", async () => {
    const link: RawEntry = { name: "a", type: "2" };
    const longest = "y/".repeat(2048);
    for (const extend of [(linkpath: string) => paxEntry({ linkpath }), (to: string) => longNameEntry(to, "K")]) {
      expect(await read(rawTar([extend(longest), link]))).toMatchObject([{ linkTarget: longest }]);
      await expectRefused(
        rawTar([extend(`${longest}y`), link]),
        "LIMIT_EXCEEDED",
        /a link's target that starts with "y[y/]+" has 4097 characters, at most 4096 are allowed/,
      );
    }
  });

  it("takes names with dots in them that lead nowhere", async () => {
    for (const name of ["..a", "a..", "a/..b/c", "..."])
      expect(await read(rawTar([{ name }]))).toMatchObject([{ path: name }]);
  });

  it("refuses a file without a name", async () => {
    for (const name of ["", ".", "./"]) {
      if (name !== "./")
        await expectRefused(rawTar([{ name, bytes: hello }]), "ARCHIVE_INVALID", /found a file without a name/);
      expect(await read(rawTar([{ name, type: "5" }]))).toMatchObject([{ path: "" }]);
    }
  });

  it("refuses a header whose checksum is wrong, in the middle", async () => {
    const bad = { name: "b", bytes: hello, spoil: (header: Buffer) => header.write("c") };
    await expectRefused(
      rawTar([file, bad, file]),
      "ARCHIVE_INVALID",
      /what follows "a" in the archive: .* its checksum is wrong/,
    );
  });
});

describe("readArchive, at the end", () => {
  const whole = rawTar([file, { name: "b", bytes: randomBytes(600) }]);

  it("refuses what is cut short anywhere before a block of zeros", async () => {
    for (let length = 0; length < whole.length - 512; length++) {
      await expect(read(chunksOf(whole.subarray(0, length), 1000)), `${length} bytes`).rejects.toMatchObject({
        code: "ARCHIVE_INVALID",
      });
    }
  });

  it("takes one block of zeros, two, or as many as a tape has", async () => {
    for (const length of [-512, -511, -1, 0])
      expect(await read(whole.subarray(0, length || undefined))).toHaveLength(2);
    expect(await read(Buffer.concat([whole, Buffer.alloc(9999)]))).toHaveLength(2);
  });

  it.each<[string, Buffer]>([
    ["a byte", Buffer.from("x")],
    ["zeros and a byte", Buffer.concat([Buffer.alloc(20_000), Buffer.from("x")])],
    ["a second archive", whole],
    ["an entry", rawEntry(file)],
  ])("refuses %s after the end", async (_, tail) => {
    const message = "other bytes follow the end of the tar; expected nothing, or zeros that fill it up";
    await expectRefused(Buffer.concat([whole, tail]), "ARCHIVE_INVALID", message);
    await expectRefused(Buffer.concat([whole.subarray(0, -512), tail]), "ARCHIVE_INVALID", message);
  });

  it("reads an archive that is empty but for its end", async () => {
    expect(await read(Buffer.alloc(1024))).toEqual([]);
  });
});

describe("readArchive, at its limits", () => {
  it("refuses an extended header of more than a mebibyte before it reads it", async () => {
    for (const type of ["x", "g", "L", "K"]) {
      const bytes = rawEntry({ name: "x", type, size: 1024 * 1024 + 1 });
      await expectRefused(bytes, "LIMIT_EXCEEDED", /an extended header has 1048577 bytes, at most 1048576 are allowed/);
    }
  });

  // Where time grew with the square of a header's size, these would not end; `bench/hostile.mjs` has the figures.
  it("takes one of a mebibyte without holding everything up", async () => {
    const records = Buffer.concat(Array.from({ length: 209_715 }, () => Buffer.from("5 a=\n")));
    const bytes = rawTar([{ type: "x", bytes: records }, file]);
    expect(await read(chunksOf(bytes, 65_536))).toMatchObject([{ path: "a" }]);
  });

  it.each(["5 a=\n", "9 path=a\n", "8 path=\n", "10 pathx=\n"])(
    "takes thirty of a mebibyte full of %j without holding everything up",
    async (record) => {
      const pax = { type: "x", bytes: Buffer.from(record.repeat(Math.floor((1024 * 1024) / record.length))) };
      const bytes = rawTar(Array.from({ length: 30 }, () => [pax, file]).flat());
      expect(await read(chunksOf(bytes, 65_536))).toHaveLength(30);
    },
  );

  it("refuses a name of a mebibyte of zeros and a letter without holding everything up", async () => {
    const name = `${"\0".repeat(1024 * 1024 - 2)}n`;
    await expect(read(chunksOf(rawTar([longNameEntry(name), file]), 65_536))).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
    });
  });

  it("counts the extended headers of the whole archive", async () => {
    const entries = Array.from({ length: 10 }, () => [
      paxEntry({ comment: "c".repeat(100) }),
      longNameEntry("n"),
      file,
    ]).flat();
    const bytes = rawTar(entries);
    const each = paxRecord("comment", "c".repeat(100)).length + 2;
    expect(await read(bytes, { maxPaxBytes: 10 * each })).toHaveLength(10);
    await expect(read(bytes, { maxPaxBytes: 10 * each - 1 })).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining(
        `${10 * each} bytes together, at most ${10 * each - 1} are allowed (maxPaxBytes)`,
      ) as string,
      detail: { limit: "maxPaxBytes" },
    });
  });

  it("refuses the first entry beyond those that are allowed, of a million", async () => {
    const entry = rawEntry({ name: "a" });
    let sent = 0;
    async function* million(): AsyncGenerator<Uint8Array> {
      for (; sent < 1_000_000; sent++) yield entry;
    }
    await expect(read(million(), { maxEntries: 5000 })).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    expect(sent).toBeLessThan(5010);
  });

  it("lets go of its source when it is left, or refuses", async () => {
    for (const bytes of [rawTar([file, file]), Buffer.from("nonsense"), rawTar([{ ...file, type: "S" }])]) {
      let isClosed = false;
      async function* source(): AsyncGenerator<Uint8Array> {
        try {
          for (;;) yield bytes;
        } finally {
          isClosed = true;
        }
      }
      const first = async (): Promise<void> => {
        for await (const _ of readArchive(source(), defaultLimits)) break;
      };
      await first().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(isClosed).toBe(true);
    }
  });
});

/** What a tar writes that takes bytes as signed. */
function signedSum(header: Uint8Array): string {
  const sum = header.reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte < 128 ? byte : byte - 256), 0);
  return `${sum.toString(8).padStart(6, "0")}\0 `;
}
