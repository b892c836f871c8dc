/**
 * The service on Deno, as a program, also on Deno Deploy:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 *
 * It is served by Deno's `node:http`. `Deno.serve` is some 10 % faster, but never closes a silent connection, and ends the process
 * when descriptors run out.
 */
import { keepAccepting } from "./keep-accepting.ts";
import { node } from "./node.ts";
import { runProgram } from "./run-service.ts";

/** Deno Deploy decides itself where its servers listen, and everybody can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;

await runProgram({
  bodyOf: node.bodyOf,
  isReachable: isDeployed,
  ignores: isDeployed ? ["HOST", "PORT"] : [],
  async listen(fetch, options) {
    const listener = await node.listen(fetch, isDeployed ? { ...options, host: "0.0.0.0", port: 8000 } : options);
    if (isDeployed) return listener;
    const stop = keepAccepting(listener.server, options.log);
    return {
      ...listener,
      async close() {
        stop();
        await listener.close();
      },
    };
  },
});
