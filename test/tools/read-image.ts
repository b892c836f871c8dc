/** Reads images as real tools left them on the disk, to compare what went in with what came out. */
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { isJsonObject, parseJson } from "../../src/oci/json.ts";
import { type Manifest, looksLikeManifest, parseManifest } from "../../src/oci/manifest.ts";
import { runTool } from "./run-tool.ts";

export type Blobs = ReadonlyMap<string, Uint8Array>;

/** An image in one piece: everything that its digest leads to. */
export interface Image {
  readonly digest: string;
  /** The manifests, configs and layers, by digest. */
  readonly blobs: Blobs;
}

/** One platform's part of an image. */
export interface PlatformImage {
  readonly config: Uint8Array;
  /** From the first to the last, one that comes twice twice. */
  readonly layers: readonly Uint8Array[];
}

/** Unpacks a tarball, which may be compressed, by the system's `tar`. */
export async function unpack(tarball: string, folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await runTool("tar", ["-xf", tarball, "-C", folder]);
  return folder;
}

/** The image of an unpacked archive that holds one. */
export async function readOnlyImage(folder: string): Promise<Image> {
  const names = await readdir(folder);
  return names.includes("index.json") ? readOnlyImageOfLayout(folder) : toImage(await readDockerArchive(folder));
}

async function readOnlyImageOfLayout(folder: string): Promise<Image> {
  const [digest, ...others] = childrenOf(parseManifest(await readFile(join(folder, "index.json")), "index.json"));
  if (digest === undefined || others.length > 0)
    throw new Error(`Cannot take the image of ${folder}: it holds not one`);
  return imageOf(digest, await readBlobs(join(folder, "blobs/sha256")));
}

/** The files of a folder that are named by their SHA-256, with `.manifest.json` behind it or not; all others are left out. */
export async function readBlobs(folder: string): Promise<Blobs> {
  const blobs = new Map<string, Uint8Array>();
  for (const name of await readdir(folder)) {
    const hex = /^[0-9a-f]{64}(?=$|\.manifest\.json$)/.exec(name)?.[0];
    if (hex !== undefined) blobs.set(`sha256:${hex}`, await readFile(join(folder, name)));
  }
  return blobs;
}

/** Picks everything that a digest leads to out of more blobs than that. Throws if one is missing. */
function imageOf(digest: string, all: Blobs): Image {
  const blobs = new Map<string, Uint8Array>();
  const visit = (name: string): void => {
    const bytes = blobOf(name, all);
    blobs.set(name, bytes);
    if (looksLikeManifest(bytes)) childrenOf(parseManifest(bytes, name)).forEach(visit);
  };
  visit(digest);
  return { digest, blobs };
}

/**
 * The digests of all that a manifest names, down to the layers, as far as it is among the blobs: what a sparse index leaves
 * out and foreign layers are not. A subject is no part of what names it.
 */
export function reachableFrom(digest: string, blobs: Blobs): string[] {
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    const name = isJsonObject(value) ? String(value["digest"]) : "";
    const bytes = blobs.get(name);
    if (bytes === undefined || found.has(name)) return;
    found.add(name);
    const json = looksLikeManifest(bytes) ? parseJson(bytes) : undefined;
    if (!isJsonObject(json)) return;
    for (const parts of [json["config"], json["layers"], json["manifests"]]) [parts].flat().forEach(visit);
  };
  visit({ digest });
  return [...found];
}

/** The part of an image that an engine on this machine takes. */
export function platformImageOf({ digest, blobs }: Image): PlatformImage {
  const manifest = parseManifest(blobOf(digest, blobs), digest);
  if (manifest.kind === "index") {
    const child = manifest.manifests.find(
      (it) => architectureOf(it) === (process.arch === "x64" ? "amd64" : process.arch),
    );
    if (child === undefined) throw new Error(`Cannot find an image for ${process.arch} in the index ${digest}`);
    return platformImageOf({ digest: child.digest, blobs });
  }
  const [config, ...layers] = manifest.blobs.map((blob) => blobOf(blob.digest, blobs));
  if (config === undefined) throw new Error(`Cannot read the manifest ${digest}: it has no config`);
  return { config, layers };
}

/** Reads what `docker save` or `podman save` wrote, unpacked: its only image, with layers as they were unpacked. */
export async function readDockerArchive(folder: string): Promise<PlatformImage> {
  const json = parseJson(await readFile(join(folder, "manifest.json")));
  const image: unknown = Array.isArray(json) ? json[0] : undefined;
  if (!isJsonObject(image) || !Array.isArray(image["Layers"])) {
    throw new Error(`Cannot read manifest.json of ${folder}: found ${JSON.stringify(json)}, expected a list of images`);
  }
  const read = async (name: unknown): Promise<Uint8Array> => readFile(join(folder, String(name)));
  return { config: await read(image["Config"]), layers: await Promise.all(image["Layers"].map(read)) };
}

/** The OCI image that a docker-archive's parts make. */
function toImage({ config, layers }: PlatformImage): Image {
  const describe = (bytes: Uint8Array, mediaType: string): unknown => ({
    mediaType: `application/vnd.oci.image.${mediaType}`,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: describe(config, "config.v1+json"),
      layers: layers.map((layer) => describe(layer, isGzip(layer) ? "layer.v1.tar+gzip" : "layer.v1.tar")),
    }),
  );
  const blobs = [config, ...layers, manifest].map((bytes) => [digestOf(bytes), bytes] as const);
  return { digest: digestOf(manifest), blobs: new Map(blobs) };
}

export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function childrenOf(manifest: Manifest): string[] {
  return (manifest.kind === "index" ? manifest.manifests : manifest.blobs).map(({ digest }) => digest);
}

function architectureOf(descriptor: Descriptor): unknown {
  const platform: unknown = Reflect.get(descriptor, "platform");
  return isJsonObject(platform) ? platform["architecture"] : undefined;
}

function blobOf(digest: string, blobs: Blobs): Uint8Array {
  const bytes = blobs.get(digest);
  if (bytes === undefined) throw new Error(`Cannot find the blob ${digest} among ${[...blobs.keys()].join(", ")}`);
  return bytes;
}
