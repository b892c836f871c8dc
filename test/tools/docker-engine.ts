/** A Docker engine of the tests' own: apart from the machine's, without networks, and gone with the tests. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { docker20Folder, toolsPath } from "./find-tool.ts";
import { runTool } from "./run-tool.ts";
import { startService } from "./start-service.ts";

/**
 * Where an engine keeps its images. With containerd's store, the default since Docker 29, `docker save` writes the blobs
 * as they were pulled or built; with the graph driver of all engines before, it packs the layers again, uncompressed.
 * The engine 20.10, with its graph driver, stands for all before 25, which write no image layout.
 */
export type ImageStore = "containerd" | "graph driver" | "graph driver of 20.10";

export interface DockerEngine {
  /** For the environment of `docker`. */
  readonly env: Readonly<Record<string, string>>;
  readonly docker: (...args: readonly string[]) => Promise<string>;
  readonly stop: () => Promise<void>;
}

export async function startDockerEngine(imageStore: ImageStore): Promise<DockerEngine> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-docker-")); // short: a socket's path may have 107 bytes
  const socket = `unix://${folder}/socket`;
  const env = { DOCKER_HOST: socket, DOCKER_CONFIG: join(folder, "client"), DOCKER_BUILDKIT: "0" };
  const docker = async (...args: readonly string[]): Promise<string> => runTool("docker", args, { env });

  const configFile = join(folder, "daemon.json");
  await writeFile(configFile, JSON.stringify(configOf(imageStore)));
  const isOld = imageStore === "graph driver of 20.10";
  const { stop } = await startService({
    folder,
    ...(isOld && { env: { PATH: [docker20Folder, toolsPath].join(delimiter) } }),
    command: [...apart, "dockerd", ...flagsOf({ folder, socket, configFile, imageStore })],
    ready: async () => docker("version", "--format", "{{.Server.APIVersion}}").catch(() => undefined),
  });
  return { env, docker, stop };
}

/** A mount namespace takes its mounts along when it ends; an empty /run hides the machine's own engine and containerd. */
const apart = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"] as const;

interface Settings {
  readonly folder: string;
  readonly socket: string;
  readonly configFile: string;
  readonly imageStore: ImageStore;
}

function flagsOf({ folder, socket, configFile, imageStore }: Settings): string[] {
  const files = ["--config-file", configFile, "--host", socket, "--pidfile", join(folder, "pid")];
  const folders = ["--data-root", join(folder, "data"), "--exec-root", join(folder, "exec")];
  const storage = ["--storage-driver", imageStore === "containerd" ? "native" : "vfs"]; // on any file system
  const network = [
    "--bridge",
    "none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
  ];
  return [...files, ...folders, ...storage, ...network];
}

function configOf(imageStore: ImageStore): unknown {
  return {
    "userland-proxy": false, // or it wants docker-proxy
    features: { "embedded-containerd": true, "containerd-snapshotter": imageStore === "containerd" },
  };
}
