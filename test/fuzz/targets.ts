/** What is fuzzed, what each starts from, and what must always hold. Everything it starts from is made here. */
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { expect } from "vitest";
import { readArchive } from "../../src/archive/read-archive.ts";
import type { Digest } from "../../src/digest.ts";
import { StowageError } from "../../src/errors.ts";
import { defaultLimits } from "../../src/limits.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import { formatName, isRepositoryName, isTag, parseName, parseReference } from "../../src/oci/reference.ts";
import { arbitraryArchive } from "../load/arbitrary-archive.ts";
import { arbitraryDockerArchive } from "../load/arbitrary-docker-archive.ts";
import { randomBytes, readAll, sha256, splitInto } from "../support/bytes.ts";
import { checkLoad } from "../support/check-load.ts";
import { compareReaders } from "../support/compare-readers.ts";
import { filesOf, makeLayout, tarOf, types } from "../support/layout.ts";
import { withChecksums } from "../support/mutate-bytes.ts";
import { rawTar } from "../support/raw-tar.ts";
import type { FuzzTarget } from "./fuzz.ts";

const layout = makeLayout({
  layers: [randomBytes(100), randomBytes(1100)],
  platforms: ["linux/amd64", "linux/arm64"],
  name: "app:1",
});

/** Archives of every form, the same each time. */
async function archives(): Promise<Buffer[]> {
  const small = await tarOf(layout);
  return [
    small,
    gzipSync(small),
    ...fc.sample(arbitraryArchive, { seed: 1, numRuns: 8 }),
    ...fc.sample(arbitraryDockerArchive, { seed: 1, numRuns: 4 }),
  ];
}

/** Two ways to cut an input; the first by its own bytes. */
const inPieces = (input: Buffer): readonly number[] => [1 + (input[0] ?? 0), 1 + (input[1] ?? 0) * 8];

const archiveReading: FuzzTarget = {
  corpus: archives,
  async run(input) {
    const archive = withChecksums(input);
    await compareReaders(archive);
    expect(await outcomeOf(archive, inPieces(input))).toEqual(await outcomeOf(archive, [archive.length]));
  },
};

/** The paths and digests of all entries; the code of the error where it is refused. */
async function outcomeOf(archive: Buffer, chunkSizes: readonly number[]): Promise<unknown> {
  const entries: unknown[] = [];
  const isCompressed = archive.toString("latin1", 257, 262) !== "ustar";
  try {
    for await (const { path, body } of readArchive(splitInto(archive, chunkSizes), defaultLimits)) {
      entries.push([path, sha256(await readAll(body))]);
    }
  } catch (error) {
    return isCompressed ? typeof codeOf(error) : codeOf(error); // of two faults in it either may be seen first
  }
  return entries;
}

function codeOf(error: unknown): string {
  if (error instanceof StowageError) return error.code;
  throw error;
}

const archiveLoading: FuzzTarget = {
  corpus: archives,
  async run(input) {
    await checkLoad(withChecksums(input), inPieces(input));
  },
};

/**
 * JSON texts between zero bytes, each but the last a blob, the last `index.json`. So that a change does not end at a wrong
 * digest, a text writes `#0` for the first blob's digest, and `%0` for its size.
 */
const layoutLoading: FuzzTarget = {
  async corpus() {
    const index = (manifests: string): string =>
      `{"schemaVersion":2,"mediaType":"${types.index}","manifests":[${manifests}]}`;
    const name = (n: number, more = ""): string => `{"mediaType":"","digest":"#${n}","size":%${n}${more}}`;
    const manifest = `{"schemaVersion":2,"config":${name(0)},"layers":[${name(0)}]}`;
    const platform = `,"platform":{"os":"linux","architecture":"amd64"}`;
    const annotations = `,"annotations":{"io.containerd.image.name":"docker.io/library/app:1","org.opencontainers.image.ref.name":"1"}`;
    return [
      ["{}", manifest, index(name(1))],
      ["{}", manifest, index(name(1, platform)), index(name(2, annotations))],
      ["{}", manifest, `{"subject":${name(1)},${manifest.slice(1)}`, index(`${name(1, annotations)},${name(2)}`)],
      [
        "{}",
        manifest.replace(
          '"layers":[',
          `"layers":[{"mediaType":"x.foreign.y","urls":["u"],"digest":"${sha256(randomBytes(1))}","size":1},`,
        ),
        index(name(1)),
      ],
    ].map((texts) => Buffer.from(texts.join("\0")));
  },
  words: ["#0", "%0", "#1", "%1", "null", "-1", "1.5", "{}", "[]", '""', "\0", ...jsonWords()],
  async run(input) {
    const blobs: { readonly digest: Digest; readonly bytes: Buffer }[] = [];
    const files = input
      .toString("utf8")
      .split("\0")
      .map((text, i, all) => {
        const filled = text.replace(/[#%]([0-9])/g, (word, n: string) => {
          const blob = blobs[Number(n)];
          return blob === undefined ? word : word.startsWith("#") ? blob.digest : String(blob.bytes.length);
        });
        const bytes = Buffer.from(filled);
        blobs.push({ digest: sha256(bytes), bytes });
        return { name: i === all.length - 1 ? "index.json" : `blobs/${sha256(bytes).replace(":", "/")}`, bytes };
      });
    await checkLoad(rawTar(files), [4096]);
  },
};

function jsonWords(): string[] {
  const keys = [
    "manifests",
    "layers",
    "config",
    "subject",
    "digest",
    "size",
    "mediaType",
    "urls",
    "annotations",
    "platform",
    "__proto__",
  ];
  return [...keys.map((key) => `"${key}":`), ...Object.values(types).map((type) => `"${type}"`)];
}

const manifestParsing: FuzzTarget = {
  corpus: async () =>
    filesOf(layout)
      .map(({ bytes }) => Buffer.from(bytes))
      .filter((bytes) => bytes[0] === 0x7b),
  words: jsonWords(),
  async run(input) {
    try {
      const manifest = parseManifest(input, "the input");
      const named = manifest.kind === "index" ? manifest.manifests : manifest.blobs;
      for (const descriptor of named) expectDescriptor(descriptor);
    } catch (error) {
      expect(["MANIFEST_INVALID", "DIGEST_INVALID", "SIZE_INVALID", "UNSUPPORTED"]).toContain(codeOf(error));
    }
  },
};

function expectDescriptor({ mediaType, digest, size }: Descriptor): void {
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(Number.isSafeInteger(size) && size >= 0 && typeof mediaType === "string").toBe(true);
}

const referenceParsing: FuzzTarget = {
  corpus: async () =>
    ["app", "docker.io/library/app:1", "localhost:5000/a/b_c.d--e:T-._", `a@${sha256(Buffer.from(""))}`].map((text) =>
      Buffer.from(text),
    ),
  words: [
    "/",
    ":",
    "@",
    "..",
    "docker.io/",
    "localhost/",
    "library/",
    "_layout",
    ":80/",
    "[::1]",
    "GHCR.IO/",
    "https://",
    "+",
    `@${sha256(Buffer.from(""))}`,
  ],
  async run(input) {
    for (const parse of [parseReference, parseName]) {
      try {
        const { repository, tag } = parse(input.toString("utf8"));
        expect(
          isRepositoryName(repository) &&
            !repository.split("/").includes("_layout") &&
            (tag === undefined || isTag(tag)),
        ).toBe(true);
        expect(parseName(formatName({ repository, tag }))).toEqual({
          repository: repository.replace(/^library\/(?=[^/]+$)/, ""),
          tag,
        });
      } catch (error) {
        expect(codeOf(error)).toBe("NAME_INVALID");
      }
    }
  },
};

/** By what is under test. */
export const fuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "readArchive, of bytes": archiveReading,
  "loadArchive, of bytes": archiveLoading,
  "loadArchive, of what layouts say": layoutLoading,
  parseManifest: manifestParsing,
  "parseReference and parseName": referenceParsing,
};
