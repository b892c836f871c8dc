/**
 * The service on Deno, also on Deno Deploy. As a program, which is the better way:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 *
 * Deno's `node:http` serves the program. `Deno.serve` is some 10 % faster, but it never closes a silent connection, and
 * it ends the process when file descriptors run out. `deno serve`, with the same permissions, uses `Deno.serve`. The
 * default export is for `deno serve`: Deno prints a warning about it when the program starts.
 */
import { keepAccepting } from "./keep-accepting.ts";
import { DenoServe } from "./deno-serve.ts";
import { NodeRuntime } from "./node.ts";
import { type Runtime, runProgram } from "./run-service.ts";
import { scheduleGc } from "./deno-cron.ts";

/** On Deno Deploy the platform decides where servers listen, and everyone can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;
const node = new NodeRuntime();

const program: Runtime = {
  bodyOf: node.bodyOf,
  clientOf: node.clientOf,
  watchAnswer: node.watchAnswer,
  isReachable: isDeployed,
  ignores: isDeployed ? ["HOST", "PORT"] : node.ignores,
  // Deno Deploy kills the program 5 s after its signal. The last answers may take 2 s more.
  defaults: isDeployed ? { STOWAGE_STOP_SECONDS: "2" } : {},
  async listen(fetch, settings, report) {
    if (isDeployed) return node.listen(fetch, { ...settings, host: "0.0.0.0", port: 8000 }, report);
    const listener = await node.listen(fetch, settings, report);
    const stop = keepAccepting(listener.server, report);
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

/** Deno Deploy runs the program, and would also serve an exported `fetch`. */
export default isDeployed ? {} : served.handlers;

if (isDeployed) {
  scheduleGc(); // Deno Deploy looks for schedules before a server listens
  await runProgram(program);
}
// While this file is evaluated, `deno serve` and `deno run` look the same. `deno serve` listens directly after.
else setTimeout(() => served.isListening || void runProgram(program), 0);
