/** `stowage serve`: the service, until SIGINT or SIGTERM. */
import { once } from "node:events";
import { parseArgs } from "node:util";
import { parseConfig } from "../config.ts";
import { openStore } from "../open-store.ts";
import { serve as serveNode } from "../runtimes/node.ts";
import { type Command, exitCodes } from "./command.ts";

export const serve: Command = {
  summary: "run the service",
  help: `Usage: stowage serve [--store URL] [--host ADDRESS] [--port PORT]

Runs the service until it gets SIGINT or SIGTERM; then it takes no more requests,
finishes those that run, and exits. A second signal ends them at once.

Options, each over the setting of the same meaning:
  --store URL       STOWAGE_STORE, default file:./data
  --host ADDRESS    HOST, default 127.0.0.1
  --port PORT       PORT, default 8080; 0 takes any that is free

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
    const config = parseConfig({
      ...env,
      ...(values.store !== undefined && { STOWAGE_STORE: values.store }),
      ...(values.host !== undefined && { HOST: values.host }),
      ...(values.port !== undefined && { PORT: values.port }),
    });
    const log = (line: string): void => void stdout.write(`${new Date().toISOString()} ${line}\n`);
    const store = await openStore(config.storeUrl, env);
    const service = await serveNode({ ...config, store, log });
    stdout.write(`Stowage listens on ${service.url}, images are kept in ${store.url}\n`);

    if (!signal.aborted) await once(signal, "abort");
    stdout.write(`Stopping: what runs may take ${config.stopSeconds} more seconds, a second signal ends it\n`);
    const end = (): void => service.end();
    process.once("SIGINT", end).once("SIGTERM", end);
    await service.stop();
    return exitCodes.ok;
  },
};
