/** Real engines and clients that take images out of a tarball, each with what it then says that it has. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { containersEnvironment } from "./containers-storage.ts";
import type { ImageStore } from "./docker-engine.ts";
import type { Tool } from "./find-tool.ts";
import { digestOf } from "./read-image.ts";
import { runShell, runTool } from "./run-tool.ts";
import type { Workshop } from "./workshop.ts";

/** By the name that the client gives an image: the digest by which the client knows the image. Images without a name are left out. */
export type TakenImages = Readonly<Record<string, string>>;

/** What the user asks a client for. */
export interface WantedImages {
  /** Names without a host, such as `team/app:1.4`. */
  readonly names: readonly string[];
  /** The only platform in the tarball, such as `linux/arm64`. */
  readonly platform?: string | undefined;
}

/** By what a client knows an image: its manifest or index, one platform's manifest of the index, or that one's config. */
export type Knows = "image" | "platform's manifest" | "config";

export interface ArchiveClient {
  readonly name: string;
  readonly needs: readonly Tool[];
  readonly knows: Knows;
  /** Takes the images into an empty storage. */
  readonly take: (tarball: string, wanted: WantedImages, workshop: Workshop) => Promise<TakenImages>;
  /** How the client shows a name that has no host. As it is by default. */
  readonly shows?: (name: string) => string;
}

export const archiveClients = [
  docker("docker load", { imageStore: "containerd", needs: ["dockerd"], knows: "image" }),
  docker("docker load, graph driver", { imageStore: "graph driver", needs: ["dockerd"], knows: "config" }),
  docker("docker load, 20.10", { imageStore: "graph driver of 20.10", needs: ["dockerd 20.10"], knows: "config" }),
  {
    name: "podman load",
    needs: ["podman"],
    knows: "config",
    shows: nameOnDockerHub,
    take: async (tarball, _, workshop) => {
      const env = await containersEnvironment(await workshop.newFolder());
      await runTool("podman", ["load", "--quiet", "--input", tarball], { env });
      const format = "{{.Repository}}:{{.Tag}} sha256:{{.Id}}";
      return parseImages(await runTool("podman", ["images", "--no-trunc", "--format", format], { env }));
    },
  },
  {
    name: "ctr images import",
    needs: ["containerd", "ctr"],
    knows: "image",
    shows: nameOnDockerHub,
    take: async (tarball, { platform }, workshop) => {
      const namespace = crypto.randomUUID(); // has no content of other archives
      const env = { CONTAINERD_ADDRESS: await workshop.containerd(), CONTAINERD_NAMESPACE: namespace };
      const choice = platform === undefined ? [] : ["--platform", platform];
      await runTool("ctr", ["images", "import", ...choice, tarball], { env });
      return parseImages(await runShell("ctr images list | awk 'NR > 1 { print $1, $3 }'", { env }));
    },
  },
  {
    name: "skopeo copy --all oci-archive:",
    needs: ["skopeo"],
    knows: "image",
    take: async (tarball, wanted, workshop) => copyWithSkopeo(tarball, { ...wanted, options: ["--all"] }, workshop),
  },
  {
    name: "skopeo copy oci-archive:",
    needs: ["skopeo"],
    knows: "platform's manifest",
    take: async (tarball, wanted, workshop) => {
      const [, architecture = ""] = (wanted.platform ?? "linux/amd64").split("/");
      return copyWithSkopeo(tarball, { ...wanted, options: ["--override-arch", architecture] }, workshop);
    },
  },
  {
    name: "crane push",
    needs: ["crane", "jq"],
    knows: "config",
    take: async (tarball, { names }, workshop) => {
      const repository = await newRepository(workshop);
      return each(names, async (name) => {
        const image = `${repository}/${name}`;
        await runTool("crane", ["push", tarball, image]);
        return runShell(`crane manifest ${image} | jq --raw-output .config.digest`); // the manifest is crane's own
      });
    },
  },
  {
    name: "crane push of the unpacked layout",
    needs: ["crane", "tar"],
    knows: "image",
    take: async (tarball, { names }, workshop) => {
      const folder = await workshop.newFolder();
      await runTool("tar", ["-xf", tarball, "-C", folder]);
      const repository = await newRepository(workshop);
      return each(names, async (name) => {
        const image = `${repository}/${name}`;
        await runTool("crane", ["push", folder, image]);
        return runTool("crane", ["digest", image]);
      });
    },
  },
  {
    name: "regctl image import",
    needs: ["regctl"],
    knows: "image",
    take: async (tarball, { names }, workshop) => {
      const repository = await newRepository(workshop);
      const regctl = ["--host", `reg=${await workshop.smallRegistry()},tls=disabled`];
      return each(names, async (name, tag) => {
        const image = `${repository}/${name}`;
        const choice = names.length > 1 ? ["--name", tag] : [];
        await runTool("regctl", [...regctl, "image", "import", ...choice, image, tarball]);
        return runTool("regctl", [...regctl, "manifest", "head", image]);
      });
    },
  },
  {
    name: "oras copy --from-oci-layout",
    needs: ["oras"],
    knows: "image",
    take: async (tarball, { names }, workshop) => {
      const repository = await newRepository(workshop);
      return each(names, async (name, tag) => {
        const image = `${repository}/${name}`;
        await runTool("oras", ["copy", "--from-oci-layout", `${tarball}:${tag}`, "--to-plain-http", image]);
        return runTool("oras", ["resolve", "--plain-http", image]);
      });
    },
  },
] as const satisfies readonly ArchiveClient[];

/** `docker.io/library/app:1` for `app:1`, as podman and containerd show it. */
function nameOnDockerHub(name: string): string {
  const [first = "", second] = name.split("/");
  if (second === undefined) return `docker.io/library/${name}`;
  return first.includes(".") ? name : `docker.io/${name}`;
}

interface DockerOptions {
  readonly imageStore: ImageStore;
  readonly needs: readonly Tool[];
  readonly knows: Knows;
}

function docker<Name extends string>(name: Name, { imageStore, needs, knows }: DockerOptions) {
  const take: ArchiveClient["take"] = async (tarball, _, workshop) => {
    const { docker: run, env } = await workshop.puller(imageStore);
    try {
      await run("load", "--input", tarball);
      return parseImages(await run("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"));
    } finally {
      // A layer that is there is not read again.
      await runShell("docker images --quiet --no-trunc | sort -u | xargs --no-run-if-empty docker image rm --force", {
        env,
      });
    }
  };
  return { name, needs: ["docker", ...needs, "xargs"], knows, take } satisfies ArchiveClient;
}

interface SkopeoOptions extends WantedImages {
  readonly options: readonly string[];
}

async function copyWithSkopeo(
  tarball: string,
  { names, options }: SkopeoOptions,
  workshop: Workshop,
): Promise<TakenImages> {
  return each(names, async (_, tag) => {
    const folder = await workshop.newFolder();
    const source = `oci-archive:${tarball}${names.length > 1 ? `:${tag}` : ""}`;
    await runTool("skopeo", ["copy", "--quiet", ...options, source, `dir:${folder}`]);
    return digestOf(await readFile(join(folder, "manifest.json")));
  });
}

/** In a registry. Has no content of other archives. */
async function newRepository(workshop: Workshop): Promise<string> {
  return `${await workshop.smallRegistry()}/${crypto.randomUUID()}`;
}

function parseImages(lines: string): TakenImages {
  const images = lines
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("<none>"))
    .map((line) => line.split(" "));
  return Object.fromEntries(images.map(([name = "", digest = ""]) => [name, digest]));
}

async function each(
  names: readonly string[],
  take: (name: string, tag: string) => Promise<string>,
): Promise<TakenImages> {
  const taken: Record<string, string> = {};
  for (const name of names) taken[name] = (await take(name, name.slice(name.lastIndexOf(":") + 1))).trim();
  return taken;
}
