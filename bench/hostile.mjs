// How long input that was made to take long takes. See README.md.
import { parseArgs } from "node:util";
import { readArchive } from "../dist/archive/read-archive.js";
import { defaultLimits } from "../dist/limits.js";
import { parseJson } from "../dist/oci/json.js";
import { matchesPattern } from "../dist/oci/match-pattern.js";
import { median, print } from "./measuring.mjs";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "7" } } });
const mebibyte = 1024 * 1024;
const filled = (unit) => Buffer.from(unit.repeat(Math.floor(mebibyte / unit.length)));
const thirtyOf = (record) => Buffer.concat(Array.from({ length: 30 }, () => [entry("x", filled(record)), file]).flat());
const file = entry("0", Buffer.from("hello"));

const inputs = {
  'thirty pax headers of 1 MiB full of "5 a=\\n"': tarOf(thirtyOf("5 a=\n")),
  'thirty pax headers of 1 MiB full of "9 path=a\\n"': tarOf(thirtyOf("9 path=a\n")),
  'thirty pax headers of 1 MiB full of "8 path=\\n"': tarOf(thirtyOf("8 path=\n")),
  'thirty pax headers of 1 MiB full of "10 pathx=\\n"': tarOf(thirtyOf("10 pathx=\n")),
  "a long name of 1 MiB of zeros and a letter": tarOf(entry("L", Buffer.from(`${"\0".repeat(mebibyte - 2)}n\0`))),
  "4 MiB of open lists": jsonOf("[".repeat(4 * mebibyte)),
  "4 MiB of lists in lists": jsonOf("[".repeat(2 * mebibyte) + "]".repeat(2 * mebibyte)),
  "4 MiB of backslashes": jsonOf(`"${"\\\\".repeat(2 * mebibyte)}`),
  "patterns of many stars": () => {
    matchesPattern("a*".repeat(127), `${"a".repeat(254)}b`);
    matchesPattern(`${"**a".repeat(84)}b`, "a".repeat(255));
  },
};

print("| input | ms, median | ms, most |");
print("| --- | --: | --: |");
for (const [name, work] of Object.entries(inputs)) {
  const times = [];
  for (let round = 0; round <= Number(values.rounds); round++) {
    const began = performance.now();
    await work();
    if (round > 0) times.push(performance.now() - began); // the first compiles the code
  }
  print(`| ${name} | ${median(times).toFixed(1)} | ${Math.max(...times).toFixed(1)} |`);
}

/** Reads a tar of such entries, whether it is taken or refused. */
function tarOf(entries) {
  const tar = Buffer.concat([entries, Buffer.alloc(1024)]);
  return async () => {
    try {
      for await (const { body } of readArchive(chunksOf(tar), defaultLimits)) for await (const _ of body);
    } catch (error) {
      if (error.code === undefined) throw error;
    }
  };
}

/** Parses a text that is refused. */
function jsonOf(text) {
  const bytes = Buffer.from(text);
  return () => {
    try {
      parseJson(bytes);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  };
}

/** A ustar header and what follows it. */
function entry(type, bytes) {
  const header = Buffer.alloc(512);
  header.write("a", 0);
  header.write(`${bytes.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(`        ${type}`, 148);
  header.write("ustar\x0000", 257);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  return Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

async function* chunksOf(bytes) {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}
