/**
 * Docker-archives made in the test, in the form in which each kind of tool writes them: the same bytes for the same
 * options. What is wrong with one is done to its entries afterwards.
 */
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { readAll, sha256 } from "./bytes.ts";
import { types } from "./layout.ts";

export interface DockerEntry {
  readonly name: string;
  readonly bytes?: Uint8Array;
  /** `link` is a hard one. */
  readonly type?: "link" | "symlink" | "fifo";
  readonly linkname?: string;
}

export interface DockerImageOptions {
  /** Uncompressed; they need not be tarballs. */
  readonly layers: readonly Uint8Array[];
  readonly repoTags?: readonly string[] | null;
  /** Makes the image another one, though its layers are the same. */
  readonly label?: string;
}

/**
 * Who writes so: Docker before 25; podman and skopeo; crane, kaniko and ko; `crane pull --format legacy`; jib; Bazel's
 * rules_oci, whose files lie in `blobs/` without an index.
 */
export const dockerForms = ["docker", "podman", "crane", "crane legacy", "jib", "bazel"] as const;
export type DockerForm = (typeof dockerForms)[number];

/** Forms whose layers are named by their digests. */
export const digestNamedForms: ReadonlySet<DockerForm> = new Set(["podman", "crane", "jib", "bazel"]);

/** The entries of an archive of these images; `manifest.json` comes last but for what old tools read. */
export function makeDockerArchive(form: DockerForm, ...images: readonly DockerImageOptions[]): DockerEntry[] {
  const entries = new Map<string, DockerEntry>();
  const manifest = images.map((image) => {
    const config = configOf(image);
    const configName = configNames[form](sha256(config).slice(7));
    const layers = image.layers.map((layer, i) => addLayer(entries, form, { layer, id: idOf(image, i) }));
    entries.set(configName, { name: configName, bytes: config });
    return { Config: configName, RepoTags: image.repoTags === undefined ? ["app:1"] : image.repoTags, Layers: layers };
  });
  entries.set("manifest.json", { name: "manifest.json", bytes: toJson(manifest) });
  if (form !== "jib" && form !== "bazel") entries.set("repositories", { name: "repositories", bytes: toJson({}) });
  return [...entries.values()];
}

/** What Stowage is to make of an image, worked out apart from it. */
export function expectedManifest(form: DockerForm, image: DockerImageOptions): Buffer {
  const config = configOf(image);
  const layers = image.layers.map((layer) => packed(form, layer));
  return manifestOf(config, layers, isCompressed(form) ? `${types.layer}+gzip` : types.layer);
}

export function manifestOf(config: Uint8Array, layers: readonly Uint8Array[], layerType: string): Buffer {
  const describe = (mediaType: string, bytes: Uint8Array): unknown => ({
    mediaType,
    digest: sha256(bytes),
    size: bytes.length,
  });
  return toJson({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: describe(types.config, config),
    layers: layers.map((layer) => describe(layerType, layer)),
  });
}

export function configOf({ layers, label = "none" }: DockerImageOptions): Buffer {
  return toJson({
    architecture: "amd64",
    os: "linux",
    config: { Labels: { label } },
    rootfs: { type: "layers", diff_ids: layers.map(sha256) },
  });
}

/** An archive of one image without a name: its config, and these layers. */
export function archiveOf(config: Uint8Array, ...layers: readonly DockerEntry[]): DockerEntry[] {
  const manifest = [{ Config: "config.json", RepoTags: [], Layers: layers.map(({ name }) => name) }];
  return [...layers, { name: "config.json", bytes: config }, { name: "manifest.json", bytes: toJson(manifest) }];
}

/** With another entry in the place of the one of its name. */
export function withEntry(archive: readonly DockerEntry[], entry: DockerEntry): DockerEntry[] {
  return archive.map((before) => (before.name === entry.name ? entry : before));
}

/** The entries as a tarball. */
export async function packEntries(entries: readonly DockerEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { name, bytes, ...link } of entries) {
    tar.entry({ name, mtime: new Date(0), ...link }, Buffer.from(bytes ?? new Uint8Array()));
  }
  tar.finalize();
  return readAll(Readable.from(tar));
}

/** The layer as it is in an archive of this form. */
export function packed(form: DockerForm, layer: Uint8Array): Buffer {
  return isCompressed(form) ? gzipSync(layer) : Buffer.from(layer);
}

export function toJson(json: unknown): Buffer {
  return Buffer.from(JSON.stringify(json));
}

function isCompressed(form: DockerForm): boolean {
  return form === "crane" || form === "jib" || form === "bazel";
}

const configNames: Readonly<Record<DockerForm, (hex: string) => string>> = {
  docker: (hex) => `${hex}.json`,
  podman: (hex) => `${hex}.json`,
  crane: (hex) => `sha256:${hex}`,
  "crane legacy": (hex) => `${hex}.json`,
  jib: () => "config.json",
  bazel: (hex) => `blobs/sha256/${hex}`,
};

/** Adds what this form has for a layer and returns its path. */
function addLayer(
  entries: Map<string, DockerEntry>,
  form: DockerForm,
  { layer, id }: { readonly layer: Uint8Array; readonly id: string },
): string {
  const bytes = packed(form, layer);
  const hex = sha256(bytes).slice(7);
  const add = (entry: DockerEntry): string => {
    entries.set(entry.name, entry);
    return entry.name;
  };
  switch (form) {
    case "crane":
    case "jib":
      return add({ name: `${hex}.tar.gz`, bytes });
    case "bazel":
      return add({ name: `blobs/sha256/${hex}.tar.gz`, bytes });
    case "podman":
      add({ name: `${id}/layer.tar`, type: "symlink", linkname: `../${hex}.tar` });
      addLegacy(add, id);
      return add({ name: `${hex}.tar`, bytes });
    case "crane legacy":
      addLegacy(add, id);
      return add({ name: `${id}/layer.tar`, bytes });
    case "docker":
  }
  addLegacy(add, id);
  const name = `${id}/layer.tar`;
  const before = [...entries.values()].find((it) => it.bytes !== undefined && sha256(it.bytes) === sha256(bytes));
  if (before === undefined || before.name === name) return add({ name, bytes });
  return add({ name, type: "symlink", linkname: `../${before.name}` });
}

function addLegacy(add: (entry: DockerEntry) => string, id: string): void {
  add({ name: `${id}/VERSION`, bytes: Buffer.from("1.0") });
  add({ name: `${id}/json`, bytes: toJson({ id }) });
}

/** Old tools name a layer by what it lies on, so that the same layer has several names. */
function idOf({ layers, label = "none" }: DockerImageOptions, i: number): string {
  return sha256(toJson([label, ...layers.slice(0, i + 1).map(sha256)])).slice(7);
}
