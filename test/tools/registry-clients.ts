/** Real clients that pull an image from a registry, each with what it then has, so that tests can compare every byte. */
import { gunzipSync } from "node:zlib";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { containersEnvironment, readLayerDigests } from "./containers-storage.ts";
import type { ImageStore } from "./docker-engine.ts";
import type { Tool } from "./find-tool.ts";
import {
  type Blobs,
  type Image,
  type PlatformImage,
  digestOf,
  isGzip,
  platformImageOf,
  readBlobs,
  readDockerArchive,
  unpack,
} from "./read-image.ts";
import { runTool } from "./run-tool.ts";
import type { Workshop } from "./workshop.ts";

/** An image in a registry that speaks plain HTTP. */
export interface RemoteImage {
  /** `127.0.0.1:PORT` */
  readonly registry: string;
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
}

export interface PulledImage {
  /** What the client says that the image's digest is. */
  readonly digest: string;
  /** The digests of the bytes that it has. */
  readonly content: readonly string[];
}

export interface RegistryClient {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Pulls into an empty storage. */
  pull(image: RemoteImage, workshop: Workshop): Promise<PulledImage>;
  /** What `pull` returns for this image if every byte of it is right. */
  expected(image: Image): PulledImage;
}

export const registryClients: readonly RegistryClient[] = [
  {
    name: "skopeo copy",
    needs: ["skopeo"],
    pull: async (image, workshop) => {
      const folder = await workshop.newFolder();
      await runTool("skopeo", [
        "copy",
        "--quiet",
        "--all",
        "--src-tls-verify=false",
        `docker://${nameOf(image)}`,
        `dir:${folder}`,
      ]);
      const manifest = await readFile(join(folder, "manifest.json"));
      const blobs = new Map([...(await readBlobs(folder)), [digestOf(manifest), manifest]]);
      return { digest: digestOf(manifest), content: contentOfBlobs(blobs) };
    },
    expected: ({ digest, blobs }) => ({ digest, content: contentOfBlobs(blobs) }),
  },
  {
    name: "crane pull",
    needs: ["crane"],
    pull: async (image, workshop) => {
      const folder = await workshop.newFolder();
      await runTool("crane", ["pull", "--format", "oci", nameOf(image), folder]);
      const digest = await runTool("crane", ["digest", nameOf(image)]);
      return { digest: digest.trim(), content: contentOfBlobs(await readBlobs(join(folder, "blobs/sha256"))) };
    },
    expected: ({ digest, blobs }) => ({ digest, content: contentOfBlobs(blobs) }),
  },
  {
    name: "podman pull",
    needs: ["podman"],
    pull: async (image, workshop) => {
      const folder = await workshop.newFolder();
      const env = await containersEnvironment(folder);
      await runTool("podman", ["pull", "--quiet", "--tls-verify=false", nameOf(image)], { env });
      const format = "{{.Digest}} sha256:{{.Id}}"; // an image's ID is the digest of its config
      const inspected = await runTool("podman", ["image", "inspect", "--format", format, nameOf(image)], { env });
      const [digest = "", config = ""] = inspected.trim().split(" ");
      return { digest, content: [config, ...(await readLayerDigests(folder))] };
    },
    expected: (image) => ({ digest: image.digest, content: contentOfPlatform(platformImageOf(image)) }),
  },
  {
    name: "docker pull",
    needs: ["docker", "dockerd", "tar"],
    pull: async (image, workshop) => pullWithDocker(image, { workshop, imageStore: "containerd" }),
    expected: (image) => ({ digest: image.digest, content: contentOfPlatform(platformImageOf(image)) }),
  },
  {
    name: "docker pull, graph driver",
    needs: ["docker", "dockerd", "tar"],
    pull: async (image, workshop) => pullWithDocker(image, { workshop, imageStore: "graph driver" }),
    expected: (image) => ({ digest: image.digest, content: contentOfPlatform(unpackLayers(platformImageOf(image))) }),
  },
];

interface DockerOptions {
  readonly workshop: Workshop;
  readonly imageStore: ImageStore;
}

async function pullWithDocker(image: RemoteImage, { workshop, imageStore }: DockerOptions): Promise<PulledImage> {
  const { docker } = await workshop.puller(imageStore);
  const folder = await workshop.newFolder();
  const tarball = join(folder, "saved.tar");
  await docker("pull", "--quiet", nameOf(image));
  try {
    const digests = await docker(
      "image",
      "inspect",
      "--format",
      "{{range .RepoDigests}}{{println .}}{{end}}",
      nameOf(image),
    );
    const ofRepository = `${image.registry}/${image.repository}@`;
    const digest = digests.split("\n").find((line) => line.startsWith(ofRepository));
    await docker("save", "--output", tarball, nameOf(image));
    const saved = await readDockerArchive(await unpack(tarball, join(folder, "saved")));
    return { digest: digest?.slice(ofRepository.length) ?? `none in ${digests}`, content: contentOfPlatform(saved) };
  } finally {
    await docker("image", "rm", "--force", nameOf(image)); // so that the next pull fetches every byte again
  }
}

function nameOf({ registry, repository, reference }: RemoteImage): string {
  return `${registry}/${repository}${reference.includes(":") ? "@" : ":"}${reference}`;
}

function contentOfBlobs(blobs: Blobs): string[] {
  return [...blobs.values()].map(digestOf).toSorted();
}

function contentOfPlatform({ config, layers }: PlatformImage): string[] {
  return [config, ...layers].map(digestOf);
}

function unpackLayers({ config, layers }: PlatformImage): PlatformImage {
  return { config, layers: layers.map((layer) => (isGzip(layer) ? gunzipSync(layer) : layer)) };
}
