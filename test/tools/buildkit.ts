/** A BuildKit of the tests' own, as buildx would drive it, without networks and gone with the tests. */
import { join } from "node:path";
import { runTool } from "./run-tool.ts";
import { type Service, startService } from "./start-service.ts";

/** The answer of the service is its address, for `BUILDKIT_HOST`. `folder` is short: a socket's path may have 107 bytes. */
export async function startBuildKit(folder: string): Promise<Service> {
  const address = `unix://${folder}/socket`;
  const files = ["--root", join(folder, "root"), "--addr", address, "--otel-socket-path", join(folder, "otel")];
  const worker = ["--containerd-worker", "false", "--oci-worker-snapshotter", "native", "--oci-worker-net", "host"];
  const isReady = async (): Promise<string | undefined> =>
    runTool("buildctl", ["--addr", address, "debug", "workers"]).then(
      () => address,
      () => undefined,
    );
  return startService({ folder, command: ["buildkitd", ...files, ...worker, "--cdi-disabled"], ready: isReady });
}
