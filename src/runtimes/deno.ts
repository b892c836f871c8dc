/**
 * The service on Deno, also on Deno Deploy. As a program, which is the better way:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 *
 * The program is served by Deno's `node:http`. `Deno.serve` is some 10 % faster, but never closes a silent connection, and ends
 * the process when descriptors run out. `deno serve` with the same permissions is served by `Deno.serve`. Deno takes the default
 * export for a sign of `deno serve`, and prints a warning about it when the program starts.
 */
import { keepAccepting } from "./keep-accepting.ts";
import { DenoServe } from "./deno-serve.ts";
import { NodeRuntime } from "./node.ts";
import { type Runtime, runProgram } from "./run-service.ts";

/** Deno Deploy decides where its servers listen, and all the world can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;
const node = new NodeRuntime();

const program: Runtime = {
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
};

const served = new DenoServe();

/** Deno Deploy runs the program. It would serve a `fetch` beside it. */
export default isDeployed ? {} : served.handlers;

if (isDeployed) await runProgram(program);
// Nothing tells `deno serve` from `deno run` while this file is evaluated. `deno serve` listens directly after that.
else setTimeout(() => served.isListening || void runProgram(program), 0);
