/** Docker-archives, which have no `index.json`, as fast-check makes them: files named by digests or not, and links. */
import { Buffer } from "node:buffer";
import * as fc from "fast-check";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { type RawEntry, rawTar } from "../support/raw-tar.ts";
import { arbitraryPacking, printedBriefly, shuffled } from "./arbitrary-archive.ts";

const contents = [1, 512, 999, 1001, 3000].map((size) => randomBytes(size, 2));

/** How the file of a layer is named, by its digest, and by where in its image it is. */
const layerNames = {
  podman: (hex: string) => `${hex}.tar`,
  bazel: (hex: string) => `blobs/sha256/${hex}`,
  docker: (hex: string, place: string) => `${sha256(Buffer.from(`${hex} ${place}`)).slice(7)}/layer.tar`,
  kaniko: (_: string, place: string) => `layers/${place}.tar`,
} as const;

/** Each means another image. */
const repoTags = ["app:1", "docker.io/library/other:2", "localhost:5000/team/app:1.4", "ghcr.io/acme/app:x"];

const image = fc.record({
  layers: fc.array(fc.constantFrom(...contents), { maxLength: 4 }),
  form: fc.constantFrom(...Object.values(layerNames)),
  hasNamedConfig: fc.boolean(),
  /** How a layer that the archive has already comes again. */
  again: fc.constantFrom("file", "symlink", "link"),
  tags: fc.nat(2),
  label: fc.constantFrom("a", "b"),
});

/** The entries of an archive of one image or of several, in any order: links may come before what they lead to. */
export const arbitraryDockerEntries: fc.Arbitrary<readonly RawEntry[]> = fc
  .tuple(fc.array(image, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(), { maxLength: 10 }))
  .map(([images, order]) => {
    const names = [...repoTags];
    const entries = new Map<string, RawEntry>();
    const paths = new Map<Buffer, string>();
    const manifest = images.map(({ layers, form, hasNamedConfig, again, tags, label }, i) => {
      const config = configOf(layers, label);
      const configName = hasNamedConfig ? `${sha256(config).slice(7)}.json` : `config-${i}.json`;
      const layerFiles = layers.map((bytes, j) => {
        const name = form(sha256(bytes).slice(7), `${i}-${j}`);
        const before = paths.get(bytes);
        if (!entries.has(name))
          entries.set(name, again === "file" ? { name, bytes } : linkOr({ name, bytes }, again, before));
        if (before === undefined && !name.startsWith("blobs/")) paths.set(bytes, name); // no links lead to blobs
        return name;
      });
      entries.set(configName, { name: configName, bytes: config });
      return { Config: configName, RepoTags: names.splice(0, tags), Layers: layerFiles };
    });
    const index = { name: "manifest.json", bytes: Buffer.from(JSON.stringify(manifest)) };
    return shuffled([...entries.values(), index], order);
  });

/** A docker-archive that is right in every way. */
export const arbitraryDockerArchive: fc.Arbitrary<Buffer> = fc
  .tuple(arbitraryDockerEntries, arbitraryPacking)
  .map(([entries, pack]) => printedBriefly(pack(rawTar(entries))));

function configOf(layers: readonly Buffer[], label: string): Buffer {
  const rootfs = { type: "layers", diff_ids: layers.map(sha256) };
  return Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", config: { Labels: { label } }, rootfs }));
}

/** A link to where the same bytes are, if they are anywhere. A file named by a digest is none itself. */
function linkOr(
  file: RawEntry & { readonly name: string },
  kind: "symlink" | "link",
  before: string | undefined,
): RawEntry {
  const { name } = file;
  if (before === undefined || before === name || name.startsWith("blobs/")) return file;
  if (kind === "link") return { name, type: "1", linkTarget: before };
  return { name, type: "2", linkTarget: `${"../".repeat(name.split("/").length - 1)}${before}` };
}
