/** Finds the programs that the tests use: those that `install.sh` built, and before all others, else the PATH's. */
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";

/** Where `install.sh` puts what it builds. */
const installFolder = process.env["STOWAGE_TEST_TOOLS"] ?? join(homedir(), ".cache/stowage-test-tools");
const toolsFolder = join(installFolder, "bin");

/** Where the Docker engine 20.10 lies, with its containerd: apart, so that nothing else finds them. */
export const docker20Folder = join(installFolder, "docker20");

/** The PATH for every program that a test runs. Root's own does not always have the last two. */
export const toolsPath = [toolsFolder, process.env["PATH"] ?? "", "/usr/sbin", "/sbin"].join(delimiter);

export type Tool =
  | "bash"
  | "bsdtar"
  | "buildah"
  | "bun"
  | "buildctl"
  | "buildkitd"
  | "busybox"
  | "chromium"
  | "conformance"
  | "containerd"
  | "crane"
  | "ctr"
  | "curl"
  | "deno"
  | "docker"
  | "docker-registry"
  | "dockerd"
  | "dockerd 20.10"
  | "gzip"
  | "helm"
  | "jq"
  | "node20"
  | "node22"
  | "node24"
  | "node26"
  | "openapi-spec-validator"
  | "openssl"
  | "oras"
  | "podman"
  | "pzstd"
  | "regctl"
  | "runc"
  | "schemathesis"
  | "skopeo"
  | "split"
  | "tar"
  | "umoci"
  | "versitygw"
  | "xargs"
  | "zstd";

/** Says which of the tools this machine lacks, and why it cannot use those that it has; empty if it can use them all. */
export function missingTools(tools: readonly Tool[]): string[] {
  const engines = { dockerd: join(toolsFolder, "dockerd"), "dockerd 20.10": join(docker20Folder, "dockerd") };
  const absent = [...new Set(tools)].filter((tool) => !(tool in engines) && findTool(tool) === undefined);
  return [
    ...(absent.length > 0 ? [`not on the PATH: ${absent.join(", ")} (see test/tools/install.sh)`] : []),
    ...Object.entries(engines).flatMap(([tool, path]) => (tools.some((it) => it === tool) ? missingEngine(path) : [])),
  ];
}

/** The path of a program, or undefined. */
export function findTool(name: Tool): string | undefined {
  return toolsPath
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** An engine of the machine's own does not do: its version is not known, and it may want a containerd beside it. */
function missingEngine(path: string): string[] {
  if (!isExecutable(path)) return [`there is no ${path} (see test/tools/install.sh)`];
  if (process.getuid?.() !== 0) return ["dockerd can be run by root alone"];
  return missingTools(["runc"]);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
