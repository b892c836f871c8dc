/**
 * The service on Deno, as a program, also on Deno Deploy:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 */
import { byteStreamToBytes } from "../streams/readable-stream.ts";
import { runProgram, urlOf } from "./run-service.ts";

/** Deno Deploy decides itself where its servers listen, and everybody can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;

await runProgram({
  bodyOf: (c) => byteStreamToBytes(c.req.raw.body), // by its own reader, a third faster
  isReachable: isDeployed,
  ignores: isDeployed ? ["HOST", "PORT"] : [],
  async listen(fetch, { host, port }) {
    const at = isDeployed ? {} : { hostname: host, port };
    const server = Deno.serve({ ...at, onListen: () => undefined }, async (request) => fetch(request));
    const { promise: cutOff, resolve: cut } = Promise.withResolvers<void>();
    return {
      url: urlOf(host, server.addr.port),
      close: async () => Promise.race([server.shutdown(), cutOff]),
      cut, // what is left ends with the process: Deno does not close a server that is shutting down
    };
  },
});
