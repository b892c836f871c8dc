/**
 * The service on Deno, as a program, also on Deno Deploy:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 *
 * Deno's `node:http` serves it. `Deno.serve` is some 10 % faster, but it never closes a silent connection, and it ends the
 * process when file descriptors run out.
 */
import { keepAccepting } from "./keep-accepting.ts";
import { NodeRuntime } from "./node.ts";
import { runProgram } from "./run-service.ts";

/** Deno Deploy decides where its servers listen, and all the world can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;
const node = new NodeRuntime();

await runProgram({
  bodyOf: node.bodyOf,
  isReachable: isDeployed,
  ignores: isDeployed ? ["HOST", "PORT"] : [],
  async listen(fetch, settings, log) {
    if (isDeployed) return node.listen(fetch, { ...settings, host: "0.0.0.0", port: 8000 }, log);
    const listener = await node.listen(fetch, settings, log);
    const stop = keepAccepting(listener.server, log);
    return {
      ...listener,
      async close() {
        stop();
        await listener.close();
      },
    };
  },
});
