// How long input that was made to take long takes, and how others are served during an attack. See README.md. Each section of
// inputs is a call of `times` or of `growth`; each attack has a file in `hostile/`.
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { entryPath } from "../dist/archive/entry-path.js";
import { readArchive } from "../dist/archive/read-archive.js";
import { resolvePath } from "../dist/archive/entry-path.js";
import { isOtherDigest } from "../dist/digest.js";
import { createApp } from "../dist/http/app.js";
import { Layout } from "../dist/layout/layout.js";
import { defaultLimits } from "../dist/limits.js";
import { cosignImagesIn, cosignTagOf, isCosignExtra } from "../dist/load/cosign-tags.js";
import { parseDockerManifest } from "../dist/oci/docker-manifest.js";
import { digestInName, isLegacyName, isBlobName } from "../dist/oci/docker-manifest.js";
import { parseJson, parseOciJson } from "../dist/oci/json.js";
import { matchesPattern } from "../dist/oci/tag-pattern.js";
import { parseReference } from "../dist/oci/reference.js";
import { parseTagPatterns } from "../dist/oci/tag-pattern.js";
import { MemoryStore } from "../dist/storage/memory-store.js";
import { median, print } from "./measuring.mjs";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "7" }, attacks: { type: "string" }, store: { type: "string" } },
});
const rounds = Number(values.rounds);
const mebibyte = 1024 * 1024;
const kibibyte = 1024;

if (values.attacks === undefined) {
  await times("The largest that is read", largest());
  await growth("Requests", await requests());
  await growth("Texts", texts(), [16, 64, 256, 1024]);
  await growth("Patterns of names, of which settings hold one", patterns(), [0.0625, 0.125, 0.25]);
} else {
  const options = { seconds: Number(values.attacks), store: values.store };
  for (const section of ["slow-readers", "attackers"]) {
    const { name, run } = await import(`./hostile/${section}.mjs`);
    print(`## ${name}\n`);
    await run(options);
    print("");
  }
}

/** A table of inputs of one size: CPU milliseconds, after a round that is not counted. */
async function times(title, works) {
  print(`## ${title}\n\n| input | CPU ms, median | CPU ms, most |\n| --- | --: | --: |`);
  for (const [name, work] of Object.entries(works)) {
    const taken = await measure(work);
    print(`| ${name} | ${median(taken).toFixed(1)} | ${Math.max(...taken).toFixed(1)} |`);
  }
  print("");
}

/**
 * A table of inputs that grow: CPU milliseconds for each size in KiB, and the power with which they grow, 1 for a straight line.
 * Each input is a function from a number of bytes to the work.
 */
async function growth(title, makers, sizes = [4, 8, 16, 32, 60]) {
  print(`## ${title}\n\n| input | ${sizes.map((size) => `${size} KiB`).join(" | ")} | power |`);
  print(`| --- | ${sizes.map(() => "--:").join(" | ")} | --: |`);
  for (const [name, make] of Object.entries(makers)) {
    const taken = [];
    for (const size of sizes) taken.push(Math.min(...(await measure(make(Math.round(size * kibibyte))))));
    const power = Math.log(taken.at(-1) / taken[0]) / Math.log(sizes.at(-1) / sizes[0]);
    print(`| ${name} | ${taken.map((ms) => ms.toFixed(3)).join(" | ")} | ${power.toFixed(1)} |`);
  }
  print("");
}

/** CPU milliseconds of each round: others may use the machine. What is soon done is done several times in a round. */
async function measure(work) {
  const began = performance.now();
  await work(); // the first compiles the code
  const times = Math.min(1000, Math.ceil(10 / (performance.now() - began)));
  const taken = [];
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < times; i++) await work();
    const { user, system } = process.cpuUsage(before);
    taken.push((user + system) / 1000 / times);
  }
  return taken;
}

function largest() {
  const filled = (unit) => Buffer.from(unit.repeat(Math.floor(mebibyte / unit.length)));
  const file = entry("0", Buffer.from("hello"));
  const thirtyOf = (record) =>
    Buffer.concat(Array.from({ length: 30 }, () => [entry("x", filled(record)), file]).flat());
  return {
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
}

/** What a client sends before anybody knows who it is, and what it can send once it may pull or load. */
async function requests() {
  const layout = Layout.open(new MemoryStore());
  const closed = createApp({ layout, access: { tokens: [], anonymousPull: false } });
  const open = createApp({ layout, access: "anyone" });
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, config: descriptorOf("a"), layers: [] }));
  const tar = Buffer.concat([
    named("blobs/sha256/" + sha256("a"), Buffer.from("a")),
    named("blobs/sha256/" + sha256(manifest), manifest),
    named("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [descriptorOf(manifest)] }))),
    Buffer.alloc(1024),
  ]);
  const loaded = await open.request("/v1/load/a:1", { method: "PUT", body: tar });
  if (!loaded.ok) throw new Error(await loaded.text());
  const ask = (app, url, init) => async () => void (await (await app.request(url, init)).arrayBuffer());
  const path = (unit) => (bytes) => ask(closed, `/v2/${filling(unit, bytes)}x/manifests/1`);
  const header =
    (name, text, method = "GET") =>
    (bytes) =>
      ask(open, method === "GET" ? `/v2/a/blobs/sha256:${sha256("a")}` : "/v1/load/a:1", {
        method,
        headers: { [name]: text(bytes) },
      });
  const secret = (text) => (bytes) => ask(closed, "/v2/", { headers: { Authorization: text(bytes) } });
  const query = (route, text) => (bytes) => ask(open, `${route}?${text(bytes)}`);
  const digest = "0".repeat(64);
  return {
    'a path of "/"': path("/"),
    'a path of "a/"': path("a/"),
    'a path of "manifests/"': path("manifests/"),
    'a path of "%2F"': path("%2F"),
    'a path of "%ff"': path("%ff"),
    'a path of "../"': path("../"),
    "a tag": (bytes) => ask(closed, `/v2/a/manifests/${filling("a", bytes)}`),
    "Authorization: spaces": secret((bytes) => `Bearer${filling(" ", bytes)}x y`),
    "Authorization: Basic": secret((bytes) => `Basic ${filling("Og==", bytes)}`),
    "Authorization: Bearer": secret((bytes) => `Bearer ${filling("a", bytes)}`),
    "If-None-Match: a list": header("If-None-Match", (bytes) => filling('W/"a", ', bytes)),
    "If-None-Match: spaces": header("If-None-Match", (bytes) => `a${filling(" ", bytes)}a`),
    "If-Match: quotes": header("If-Match", (bytes) => `${filling('"', bytes)}a`, "PUT"),
    "Range: digits": header("Range", (bytes) => `bytes=${filling("9", bytes)}-${filling("9", bytes)}`),
    "Range: a list": header("Range", (bytes) => `bytes=${filling("0-0,", bytes)}0-0`),
    "If-Range": header("If-Range", (bytes) => filling('"', bytes)),
    "Content-Encoding": header("Content-Encoding", (bytes) => filling("gzip, ", bytes), "PUT"),
    "X-Forwarded-Proto": (bytes) =>
      ask(open, "/v2/a/manifests/1", { method: "PUT", headers: { "X-Forwarded-Proto": filling("http,", bytes) } }),
    Origin: header("Origin", (bytes) => `http://${filling("a.", bytes)}`, "PUT"),
    "n=": query("/v2/a/tags/list", (bytes) => `n=${filling("9", bytes)}`),
    "last=": query("/v2/a/tags/list", (bytes) => `last=${filling("a", bytes)}`),
    "artifactType=": query(`/v2/a/referrers/sha256:${digest}`, (bytes) => `artifactType=${filling("+", bytes)}`),
    "many parameters": query("/v2/a/tags/list", (bytes) => filling("a=1&", bytes)),
    "encoded parameters": query("/v2/a/tags/list", (bytes) => filling("%61%=1&", bytes)),
  };
}

/** What is read of a body or an archive. */
function texts() {
  const refused = (work) => () => {
    try {
      work();
    } catch (error) {
      if (error.code === undefined && !(error instanceof SyntaxError)) throw error;
    }
  };
  const reference =
    (unit, end = "") =>
    (bytes) =>
      refused(() => parseReference(filling(unit, bytes) + end));
  const json =
    (unit, start = "[", end = "0]") =>
    (bytes) => {
      const text = Buffer.from(start + filling(unit, bytes) + end);
      return refused(() => parseOciJson(text));
    };
  const many = (keyOf) => (bytes) => {
    const keys = Array.from({ length: Math.floor(bytes / 12) }, (_, i) => `"${keyOf(i)}":0`);
    const text = Buffer.from(`{${keys.join(",")}}`);
    return refused(() => parseOciJson(text));
  };
  const name =
    (unit, end = "") =>
    (bytes) => {
      const text = filling(unit, bytes) + end;
      return () => [digestInName(text), isBlobName(text), isLegacyName(text)];
    };
  return {
    'a reference of "a-"': reference("a-"),
    'a reference of "a__"': reference("a__"),
    'a reference of "a/"': reference("a/"),
    'a reference of ":1"': reference(":1", "/a"),
    'a reference of "@"': reference("@"),
    'a digest of "a+"': (bytes) => () => isOtherDigest(`${filling("a+", bytes)}:`),
    "JSON of many keys": many((i) => `key${i}`),
    "JSON of keys that are numbers": many((i) => i * 65_537),
    "JSON of one key again and again": many(() => "layers"),
    "JSON of one long key": json("k", '{"', '":0}'),
    "JSON of keys that look like known ones": json("\u017f", '{"', '":0}'),
    "JSON of a size of many digits": json("1", '{"size":', "}"),
    "JSON of a size of many zeros": json("0", '{"size":1.', "1}"),
    "JSON of spaces behind a size": json(" ", '{"size"', ":x}"),
    "JSON of many sizes": json('{"size" : 1},'),
    "JSON of annotations": json('{"annotations":{"a":"b"}},'),
    "JSON that ends in a wrong letter": json('"a",', "[", "x]"),
    'an entry\'s path of "a/"': (bytes) => refused(() => entryPath(filling("a/", bytes), "here")),
    'a link\'s path of "a/../"': (bytes) => () => resolvePath(filling("a/../", bytes), "a"),
    'a file\'s name of "/sha256:"': name("/sha256:"),
    "a file's name of digits in folders": name(`/${"a".repeat(64)}`, "x"),
    "a file's name of dots": name(".tar", "x"),
    "a manifest.json of many names": (bytes) => {
      const RepoTags = Array.from({ length: Math.floor(bytes / 12) }, (_, i) => `a/b:${i}`);
      const text = Buffer.from(JSON.stringify([{ Config: "c", Layers: [], RepoTags }]));
      return refused(() => parseDockerManifest(text));
    },
    "signatures of cosign": (bytes) => {
      const kinds = ["image", ...Array.from({ length: Math.floor(bytes / 100) }, () => "sigs")];
      const roots = kinds.map((kind, i) => ({
        digest: `sha256:${i}`,
        annotations: { kind: `dev.cosignproject.cosign/${kind}` },
      }));
      return () => {
        const images = cosignImagesIn(roots);
        return roots.filter(isCosignExtra).map((extra) => cosignTagOf(extra, images));
      };
    },
    "settings of many tag patterns": (bytes) => () => parseTagPatterns(filling("a*,", bytes)),
  };
}

/** A name has 255 characters at most, a pattern as many: settings are the operator's, names a client's. */
function patterns() {
  const pattern = (unit) => (bytes) => {
    const text = filling(unit, bytes - 1);
    return () => matchesPattern(text, "a".repeat(bytes - 1));
  };
  return {
    'stars: "*"': pattern("*"),
    'stars: "a*"': pattern("a*"),
    'stars: "**a"': pattern("**a"),
    letters: pattern("a"),
  };
}

/** The text again and again, up to so many bytes. */
function filling(unit, bytes) {
  return unit.repeat(Math.floor(bytes / unit.length));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

function descriptorOf(bytes) {
  return { mediaType: "", digest: `sha256:${sha256(bytes)}`, size: bytes.length };
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

/** A file of this name. */
function named(name, bytes) {
  return entry("0", bytes, name);
}

/** A ustar header and what follows it. */
function entry(type, bytes, name = "a") {
  const header = Buffer.alloc(512);
  header.write(name, 0);
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
