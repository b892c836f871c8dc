/** Each difference between Stowage's reader and tar-stream's, by the name that it has in docs/architecture.md. */
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { randomBytes } from "../support/bytes.ts";
import {
  type TarReading,
  compareReaders,
  differences,
  readWithStowage,
  readWithTarStream,
} from "../support/compare-readers.ts";
import { type RawEntry, longNameEntry, paxEntry, rawEntry, rawTar } from "../support/raw-tar.ts";

const hello = Buffer.from("hello");
const file: RawEntry = { name: "a", bytes: hello };
const zeros = Buffer.alloc(1024);
const size = (text: string): RawEntry => ({ ...file, size: Buffer.from(text) });
const tooLong = "x".repeat(4097);

type End = "complete" | "hangs" | RegExp;

/** By the name of the difference: archives, and the end of each for Stowage and for tar-stream. */
const examples: Readonly<Record<string, readonly (readonly [archive: Buffer, stowage: End, tarStream: End])[]>> = {
  "a size such as `5abc`, `5.9` or `00005 00005`": [
    [rawTar([size("00000005abc\0")]), /expected octal digits/, "complete"],
    [rawTar([size("0000000005.9")]), /expected octal digits/, "complete"],
    [rawTar([size("00005 00005\0")]), /expected octal digits/, "complete"],
    [rawTar([paxEntry({ size: "5.9" }), file]), /expected a whole number/, "complete"],
  ],
  "a size in base-256 that begins with 0x81": [
    [rawTar([{ ...file, size: Buffer.from("810000000000000000000005", "hex") }]), /its size is beyond 2\^53/, "hangs"],
  ],
  "a directory with a size, and no body": [
    [rawTar([{ name: "d/", type: "5", size: 4096 }, file]), "complete", "hangs"],
  ],
  "a body of a directory, a link or a device": [
    [rawTar([{ name: "l", type: "1", bytes: hello }]), /found a link of 5 bytes/, "complete"],
    [rawTar([{ name: "l", type: "2", bytes: hello }]), /found a symlink of 5 bytes/, "complete"],
    [rawTar([{ name: "l", type: "3", bytes: hello }]), /found a character-device of 5 bytes/, "complete"],
    [rawTar([{ name: "d/", bytes: hello }]), /found a directory of 5 bytes/, "complete"],
  ],
  "a file whose name ends with a slash": [
    [rawTar([{ name: "d/" }, file]), "complete", "complete"],
    [rawTar([{ name: "d/", type: "\0", magic: "" }]), "complete", "complete"],
  ],
  "a volume's label": [[rawTar([{ name: "index.json", type: "V" }, file]), "complete", "complete"]],
  "bytes behind the end": [
    [Buffer.concat([rawTar([file]), rawEntry({ name: "b", bytes: hello })]), /other bytes follow the end/, "complete"],
  ],
  "no end": [
    [rawEntry(file), /it is cut short/, "complete"],
    [Buffer.alloc(0), /it is empty/, "complete"],
  ],
  "zeros behind the end that fill no block": [
    [Buffer.concat([rawTar([file]), Buffer.alloc(9999)]), "complete", /Unexpected end of data/],
  ],
  "a checksum of signed bytes": [
    [rawTar([{ ...file, name: "\u00e9", spoil: signChecksum }]), "complete", /Invalid tar header/],
  ],
  "extended headers that are long or many": [
    [
      rawTar([{ type: "x", bytes: Buffer.from("5 a=\n".repeat(220_000)) }, file]),
      /an extended header has 1100000 bytes/,
      "complete",
    ],
  ],
  "two that differ, one without an entry, a malformed one": [
    [rawTar([longNameEntry("gnu"), paxEntry({ path: "pax" }), file]), /pax's extended header says "pax"/, "complete"],
    [rawTar([paxEntry({ path: "b" }), paxEntry({ path: "c" }), file]), /two extended headers of type "x"/, "complete"],
    [rawTar([file, paxEntry({ path: "b" })]), /stands before no entry/, "complete"],
    [
      rawTar([{ type: "x", bytes: Buffer.from("99 path=a\n") }, file]),
      /the length of a record .* is wrong/,
      "complete",
    ],
    [rawTar([{ type: "x", bytes: Buffer.from("8 patha\n") }, file]), /has no value/, "complete"],
  ],
  "one with a path or a size for all entries": [
    [rawTar([paxEntry({ path: "b" }, "g"), paxEntry({ a: "b" }), file]), /sets the name of all entries/, "complete"],
    [rawTar([paxEntry({ size: "5" }, "g"), file]), /sets the size of all entries/, "complete"],
  ],
  "one without records": [[rawTar([paxEntry({}), file, { ...file, name: "b" }]), "complete", /Invalid tar header/]],
  "one of Solaris (type `X`)": [[rawTar([paxEntry({ path: "b" }, "X"), file]), "complete", "complete"]],
  "a sparse file, a further volume": [
    [rawTar([{ ...file, type: "S", magic: "ustar " }]), /it is a sparse file/, "complete"],
    [rawTar([paxEntry({ "GNU.sparse.major": "1" }), file]), /it is a sparse file/, "complete"],
    [rawTar([{ ...file, type: "M" }]), /goes on from another volume/, "complete"],
  ],
  "a path that leads out, or is none": [
    ...["/a", "../a", "a\\b"].map((name) => [rawTar([{ ...file, name }]), /found the path/, "complete"] as const),
    [rawTar([paxEntry({ path: "a\0b" }), file]), /which has a zero byte in it/, "complete"],
    [rawTar([{ ...file, name: "" }]), /found a file without a name/, "complete"],
  ],
  "a path of more than 4,096 characters": [
    [rawTar([longNameEntry(tooLong), file]), /a path .* has 4097 characters/, "complete"],
    [rawTar([paxEntry({ linkpath: tooLong }), { name: "l", type: "2" }]), /a link's target .* has 4097/, "complete"],
  ],
};

/** Both readers give up. */
const bothRefuse = "a size in base-256 that begins with 0x81";
/** On Workers alone: test/workerd/read-archive.suite.ts. */
const onWorkers = "a name that begins with a byte order mark";

describe("what tar-stream reads in another way than Stowage", () => {
  it("is listed in docs/architecture.md", async () => {
    const page = await readFile(new URL("../../docs/architecture.md", import.meta.url), "utf8");
    const [, section = ""] = page.split("## Why tars are read by own code\n");
    const rows = [...section.matchAll(/^\| (.+?) +\|.+\|$/gm)].map(([, name]) => name).slice(1);
    expect(rows.filter((name) => !/^-+$/.test(name ?? ""))).toEqual(differences.map(({ name }) => name));
    expect([...Object.keys(examples), onWorkers]).toEqual(differences.map(({ name }) => name));
  });

  describe.each(Object.entries(examples))("is %s", (name, archives) => {
    it.each(archives.map((archive, i) => [i + 1, ...archive] as const))(
      "example %i",
      async (_, archive, ours, theirs) => {
        expectEnd(await readWithStowage(archive), ours);
        expectEnd(await readWithTarStream(archive), theirs);
        expect(await compareReaders(archive)).toBe(name === bothRefuse ? undefined : name);
      },
    );
  });
});

describe("what both read alike", () => {
  it.each<[string, Buffer]>([
    ["files, folders and links", rawTar([file, { name: "d/", type: "5" }, { name: "l", type: "2", linkTarget: "a" }])],
    [
      "a long name by pax",
      rawTar([paxEntry({ path: "b/".repeat(100) + "c" }), { name: "x", bytes: randomBytes(600) }]),
    ],
    ["a long name by GNU", rawTar([longNameEntry("b/".repeat(100) + "c"), file])],
    ["two blocks of zeros, or many", Buffer.concat([rawTar([file]), zeros, zeros])],
  ])("is %s", async (_, archive) => {
    expect(await readWithStowage(archive)).toEqual(await readWithTarStream(archive));
    expect(await compareReaders(archive)).toBeUndefined();
  });
});

function expectEnd({ end }: TarReading, expected: End): void {
  if (expected instanceof RegExp) expect(end).toEqual({ refused: expect.stringMatching(expected) as string });
  else expect(end).toBe(expected);
}

function signChecksum(header: Buffer): void {
  const bytes = [...header].map((byte, i) => (i >= 148 && i < 156 ? 32 : byte < 128 ? byte : byte - 256));
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
}
