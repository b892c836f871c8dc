/** `stowage serve`: the service, until SIGINT or SIGTERM. */
import { parseArgs } from "node:util";
import { NodeRuntime } from "../runtimes/node.ts";
import { runService } from "../runtimes/run-service.ts";
import { knownSettings } from "../settings/known-settings.ts";
import { type Command, exitCodes } from "./command.ts";

export const serve: Command = {
  help: `Usage: stowage serve [--store URL] [--host ADDRESS] [--port PORT]

Runs the service until it gets SIGINT or SIGTERM; then it takes no more requests,
finishes those that run, and exits. A second signal ends them at once.

Options, each over the setting of the same meaning:
  --store URL       STOWAGE_STORE, default file:./data
  --host ADDRESS    HOST, default 127.0.0.1
  --port PORT       PORT, default 8080; 0 takes any that is free

On this machine alone and without tokens the service answers under localhost,
127.0.0.1, [::1] and the names of STOWAGE_HOSTS, so that no web page can get in.

Settings, environment variables with their defaults; sizes such as 64MiB or 10GB,
times such as 90s or 2h; a bucket's keys and region are the AWS SDK's own (AWS_…):
${Object.entries(knownSettings)
  .map(([name, meaning]) => `  ${name.padEnd(30)}  ${meaning}\n`)
  .join("")}
Examples:
  stowage serve
  stowage serve --store file:/srv/images --port 5000
  AWS_REGION=eu-central-1 stowage serve --store s3://my-bucket/images
`,
  async run(args, { env, stdout, signal }) {
    const { values } = parseArgs({
      args: [...args],
      options: { store: { type: "string" }, host: { type: "string" }, port: { type: "string" } },
    });
    const settings = {
      ...env,
      ...(values.store !== undefined && { STOWAGE_STORE: values.store }),
      ...(values.host !== undefined && { HOST: values.host }),
      ...(values.port !== undefined && { PORT: values.port }),
    };
    await runService(settings, new NodeRuntime(), stdout, signal);
    return exitCodes.ok;
  },
};
