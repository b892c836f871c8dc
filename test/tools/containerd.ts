/** A containerd of the tests' own, apart from the machine's, for `ctr`. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runTool } from "./run-tool.ts";
import { type Service, startService } from "./start-service.ts";

/**
 * The answer of the service is its address, for `CONTAINERD_ADDRESS`. `folder` is short: a socket's path may have 107
 * bytes.
 */
export async function startContainerd(folder: string): Promise<Service> {
  const address = join(folder, "socket");
  const configFile = join(folder, "config.toml");
  await writeFile(configFile, configOf(folder, address));
  const isReady = async (): Promise<string | undefined> =>
    runTool("ctr", ["--address", address, "version"]).then(
      () => address,
      () => undefined,
    );
  return startService({ folder, command: ["containerd", "--config", configFile], ready: isReady });
}

function configOf(folder: string, address: string): string {
  return `
version = 2
root = ${JSON.stringify(join(folder, "root"))}
state = ${JSON.stringify(join(folder, "state"))}
disabled_plugins = ["io.containerd.grpc.v1.cri"] # Kubernetes' own, which wants networks

[grpc]
address = ${JSON.stringify(address)}

[plugins."io.containerd.internal.v1.opt"]
path = ${JSON.stringify(join(folder, "opt"))}
`;
}
