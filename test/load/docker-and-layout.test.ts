/** Archives that are a layout and a docker-archive at once, or only seem to be. */
import { describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { dockerForms, expectedManifest, makeDockerArchive, toJson } from "../support/docker-archive.ts";
import {
  type Layout,
  type LayoutOptions,
  type TarEntry,
  filesOf,
  indexFirst,
  joinLayouts,
  makeLayout,
  reversed,
  withoutBlob,
} from "../support/layout.ts";
import { loadEntries } from "../support/loading.ts";

const layers = [randomBytes(100, 1), randomBytes(5000, 2)];
const namesOf = ({ images }: Receipt): string[] =>
  images.map(({ repository, reference }) => `${repository}:${reference}`);

describe.each(dockerForms.filter((form) => form !== "bazel"))(
  "loadArchive, of a docker-archive by %s with an index.json of its own",
  (form) => {
    const image = { layers, repoTags: ["team/app:1.4"] };
    const archive = makeDockerArchive(form, image);
    const index = { name: "index.json", bytes: toJson({ schemaVersion: 2, manifests: [] }) };

    it("takes it for what it is, wherever the index.json comes", async () => {
      for (const entries of [
        [index, ...archive],
        [...archive, index],
        [{ name: "index.json", bytes: Buffer.from("no JSON") }, ...archive],
      ]) {
        const { images, ignored } = await loadEntries(entries, new MemoryStore({ partBytes: 1000 }));
        expect(images).toMatchObject([{ reference: "1.4", digest: sha256(expectedManifest(form, image)) }]);
        expect(ignored).toEqual([{ path: "index.json", reason: "beside no oci-layout and no blobs" }]);
      }
    });
  },
);

describe("loadArchive, of a layout with a manifest.json", () => {
  interface Listed {
    readonly config: string;
    readonly tags: readonly string[] | null;
  }

  /** The layout's files in Docker's way: as BuildKit, Docker 25 and Bazel write them beside `index.json`. */
  function withManifest(layout: Layout, ...images: readonly Listed[]): TarEntry[] {
    const manifest = images.map(({ config, tags }) => ({
      Config: `blobs/${config.replace(":", "/")}`,
      RepoTags: tags,
      Layers: layout.layers.map((digest) => `blobs/${digest.replace(":", "/")}`),
    }));
    return [...filesOf(layout), { name: "manifest.json", bytes: toJson(manifest) }];
  }

  const configIn = (layout: Layout, manifest = layout.digest): string =>
    (JSON.parse(String(layout.blobs.get(manifest))) as { config: { digest: Digest } }).config.digest;

  async function load(entries: readonly TarEntry[], name?: string): Promise<string[]> {
    return namesOf(
      await loadEntries(entries, new MemoryStore(), { chunkBytes: 5000, ...(name !== undefined && { name }) }),
    );
  }

  it.each<[string, LayoutOptions, readonly string[], readonly string[]]>([
    ["no name", {}, ["team/app:1.4", "localhost/app:2"], ["team/app:1.4", "app:2"]],
    ["a name of its own", { name: "docker.io/team/app:1.4" }, ["team/app:1.4"], ["team/app:1.4"]],
    ["one of the names", { name: "docker.io/team/app:1.4" }, ["team/app:1.4", "b:1"], ["team/app:1.4", "b:1"]],
    ["the tag alone", { refName: "1.4" }, ["team/app:1.4"], ["team/app:1.4"]],
    ["another tag", { refName: "1.5" }, ["team/app:1.4"], ["images:1.5", "team/app:1.4"]],
  ])("keeps the names there of an image with %s in index.json", async (_, options, tags, expected) => {
    const layout = makeLayout({ layers, ...options });
    const entries = withManifest(layout, { config: configIn(layout), tags });
    for (const order of [entries, reversed(entries), indexFirst(entries)]) expect(await load(order)).toEqual(expected);
  });

  it("keeps its tags in a repository that the request names, and neither for a whole name", async () => {
    const layout = makeLayout({ layers });
    const entries = withManifest(layout, { config: configIn(layout), tags: ["team/app:1.4", "team/app:latest"] });
    expect(await load(entries, "x/y")).toEqual(["x/y:1.4", "x/y:latest"]);
    expect(await load(entries, "x/y:2")).toEqual(["x/y:2"]);
  });

  it("refuses a name there that is none, unless the request has another", async () => {
    const layout = makeLayout({ layers });
    const entries = withManifest(layout, { config: configIn(layout), tags: ["Team/App:1.4"] });
    await expect(load(entries)).rejects.toMatchObject({ code: "NAME_INVALID" });
    expect(await load(entries, "x/y")).toEqual(["x/y:1.4"]);
    expect(await load(entries, "x/y:2")).toEqual(["x/y:2"]);
  });

  it("means the index of several platforms by the config of one of them", async () => {
    const layout = makeLayout({ layers, platforms: ["linux/amd64", "linux/arm64"] });
    const config = configIn(layout, layout.manifests[1]);
    const { images } = await loadEntries(withManifest(layout, { config, tags: ["team/app:1"] }), new MemoryStore());
    expect(images).toMatchObject([{ repository: "team/app", reference: "1", digest: layout.digest }]);
  });

  it("gives no image a name that index.json gives to another", async () => {
    const [one, two] = [makeLayout({ layers, name: "app:1" }), makeLayout({ layers, label: "b" })];
    const entries = withManifest(joinLayouts(one, two), { config: configIn(two), tags: ["app:1"] });
    expect(await load(entries)).toEqual(["app:1", `images:${two.digest}`]);
  });

  it.each(["no JSON", "[]", "{}", '[{"Config":"nowhere","RepoTags":["app:9"],"Layers":[]}]'])(
    "goes by index.json alone if manifest.json says %s",
    async (text) => {
      const layout = makeLayout({ layers, name: "app:1" });
      const entries = [...filesOf(layout), { name: "manifest.json", bytes: Buffer.from(text) }];
      expect(await load(entries)).toEqual(["app:1"]);
    },
  );

  it("is a layout also if only the store has the blobs", async () => {
    const layout = makeLayout({ layers, name: "app:1" });
    const store = new MemoryStore();
    await loadEntries(filesOf(layout), store);
    const entries = withManifest(withoutBlob(layout, ...layout.blobs.keys()), {
      config: configIn(layout),
      tags: ["b:1"],
    });
    for (const sent of [entries, entries.filter(({ name }) => name !== "oci-layout")]) {
      expect(namesOf(await loadEntries(sent, store))).toEqual(["app:1", "b:1"]);
    }
  });
});

describe("loadArchive, of what imgutil writes for Buildpacks", () => {
  it("takes layers whose paths begin with a slash", async () => {
    const [layer = Buffer.from("")] = layers;
    const config = toJson({
      architecture: "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: [sha256(layer)] },
    });
    const [path, configName] = [`/${sha256(layer)}.tar`, `${sha256(config).slice(7)}.json`];
    const manifest = toJson([{ Config: configName, RepoTags: ["team/app:1"], Layers: [path] }]);
    const entries = [
      { name: path, bytes: layer },
      { name: configName, bytes: config },
      { name: "manifest.json", bytes: manifest },
    ];
    for (const order of [entries, entries.toReversed()]) {
      expect(await loadEntries(order, new MemoryStore())).toMatchObject({
        images: [{ repository: "team/app" }],
        ignored: [],
      });
    }
  });
});
