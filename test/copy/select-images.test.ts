import { beforeAll, describe, expect, it } from "vitest";
import { type SelectOptions, parseImagePattern, selectImages } from "../../src/copy/select-images.ts";
import { formatReference } from "../../src/oci/reference.ts";
import { LayoutSource } from "../../src/layout/layout-source.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import type { ImageSource } from "../../src/remote/image-source.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { clockAfter, hour } from "../gc/clock-after.ts";
import { chunksOf } from "../support/bytes.ts";
import { type Layout, makeLayout, tarOf, types } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";

const app = makeLayout({ name: "team/app:1.9", label: "1.9" });
const root = { mediaType: types.manifest, digest: app.digest, size: app.blobs.get(app.digest)?.length ?? 0 };
const signature = makeLayout({ name: `team/app:sha256-${app.digest.slice(7)}.sig`, label: "signature" });
const attestation = makeLayout({ subject: root, label: "attestation", root: { annotations: {} } });
const untagged = makeLayout({ label: "untagged" });

/** Of an image with a SHA-512: a tag has room for the first half of the hash. */
const strongTag = `sha512-${"0".repeat(64)}.sig`;
const strongSignature = makeLayout({ name: `team/app:${strongTag}`, label: "strong signature" });

/** In the order of their loads, the newest last. */
const loads: readonly (readonly [Layout, string])[] = [
  [makeLayout({ name: "team/app:2.0", label: "2.0" }), "team/app:2.0"],
  [makeLayout({ name: "team/app:1.10", label: "1.10" }), "team/app:1.10"],
  [app, "team/app:1.9"],
  [signature, `team/app:sha256-${app.digest.slice(7)}.sig`],
  [strongSignature, `team/app:${strongTag}`],
  [makeLayout({ name: "team/web:1.9", label: "web" }), "team/web:1.9"],
  [makeLayout({ name: "team/deep/web:1", label: "deep" }), "team/deep/web:1"],
  [makeLayout({ name: "other:1", label: "other" }), "other:1"],
];

const store = new MemoryStore();
const source = new LayoutSource(openLayout(store));
beforeAll(async () => {
  for (const [i, [layout]] of loads.entries()) {
    await loadArchive(openLayout(store, undefined, clockAfter(i * hour)), chunksOf(await tarOf(layout), 4096), {});
  }
  for (const layout of [attestation, untagged]) {
    const name = { repository: "team/app", tag: undefined, digest: layout.digest };
    await loadArchive(openLayout(store), chunksOf(await tarOf(layout), 4096), { name });
  }
});

type Choice = Partial<Omit<SelectOptions, "patterns">>;

async function select(patterns: readonly string[], options: Choice = {}, from: ImageSource = source) {
  const { signal } = new AbortController();
  const selected = await selectImages(from, { patterns: patterns.map(parseImagePattern), signal, ...options });
  return selected.map(({ repository, reference }) => formatReference(repository, reference));
}

const signed = `team/app:sha256-${app.digest.slice(7)}.sig`;
const bare = `team/app@${untagged.digest}`;

describe("selectImages", () => {
  it.each<[readonly string[], readonly string[]]>([
    [["team/app:1.9"], ["team/app:1.9"]],
    [["team/app:1.*"], ["team/app:1.10", "team/app:1.9"]],
    [["team/*:1*"], ["team/app:1.10", "team/app:1.9", "team/web:1.9"]],
    [["team/**:1*"], ["team/app:1.10", "team/app:1.9", "team/deep/web:1", "team/web:1.9"]],
    [["**/web"], ["team/deep/web:1", "team/web:1.9"]],
    [["*"], ["other:1"]],
    [
      ["other", "team/web"],
      ["other:1", "team/web:1.9"],
    ],
    [["team/app"], [bare, "team/app:1.10", "team/app:1.9", "team/app:2.0", signed, `team/app:${strongTag}`]],
    [
      ["team/app:1.9", "team/app:1.9", "team/app:1*"],
      ["team/app:1.10", "team/app:1.9"],
    ],
    [["team/app:1.9", "team/app:1.9"], ["team/app:1.9"]],
    [[`team/app@${app.digest}`], [`team/app@${app.digest}`]],
    [
      [`team/app@${app.digest}`, "team/app:2*"],
      ["team/app:2.0", `team/app@${app.digest}`],
    ],
    [
      [],
      [
        bare,
        "other:1",
        "team/app:1.10",
        "team/app:1.9",
        "team/app:2.0",
        signed,
        `team/app:${strongTag}`,
        "team/deep/web:1",
        "team/web:1.9",
      ],
    ],
  ])("chooses with %j", async (patterns, expected) => {
    expect((await select(patterns)).toSorted()).toEqual(expected.toSorted());
  });

  it("chooses the tags that changed last, and no signature, with `latest`", async () => {
    expect(await select(["team/app"], { latest: 1 })).toEqual(["team/app:1.9"]);
    expect(await select(["team/app"], { latest: 2 })).toEqual(["team/app:1.9", "team/app:1.10"]);
    expect(await select(["team/app:2*", "team/app:1.10"], { latest: 1 })).toEqual(["team/app:1.10"]);
    expect(await select(["team/app:2.0", "team/app:1.10"], { latest: 1 })).toEqual(["team/app:1.10"]);
    expect((await select([], { latest: 1 })).toSorted()).toEqual([
      "other:1",
      "team/app:1.9",
      "team/deep/web:1",
      "team/web:1.9",
    ]);
  });

  it("chooses the highest versions of a registry, which tells no times", async () => {
    const registry: Partial<ImageSource> = {
      name: "a registry",
      listEntries: async () => ["1.9", "1.10", "latest", "2.0"].map((reference) => ({ reference })),
    };
    expect(await select(["team/app:*.*"], { latest: 2 }, registry as ImageSource)).toEqual([
      "team/app:2.0",
      "team/app:1.10",
    ]);
  });

  it("leaves signatures out if they are not wanted, unless a pattern names one", async () => {
    const plain = [bare, "team/app:1.10", "team/app:1.9", "team/app:2.0"];
    expect((await select(["team/app"], { referrers: false })).toSorted()).toEqual(plain.toSorted());
    expect(await select([signed], { referrers: false })).toEqual([signed]);
  });

  it.each(["team/app:3*", "team/none*"])("finds out that nothing fits %s, and names it", async (pattern) => {
    const message = `Cannot find an image for "${pattern}" in memory:`;
    await expect(select([pattern, "other"])).rejects.toMatchObject({ code: "MANIFEST_UNKNOWN", message });
  });

  it("fails for a repository that is not there", async () => {
    await expect(select(["team/none"])).rejects.toMatchObject({ code: "NAME_UNKNOWN" });
  });
});

describe("parseImagePattern", () => {
  it.each([
    "",
    "Team/App",
    "team/app:",
    "team/app:a b",
    "team/app@1",
    "team/app:1@sha256:0",
    "https://a/b",
    "team//app",
  ])("refuses %j", (text) => {
    expect(() => parseImagePattern(text)).toThrow("Cannot use");
  });
});
