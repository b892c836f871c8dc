/**
 * The service on Deno, as a program, also on Deno Deploy:
 *
 *     deno run --allow-net --allow-env --allow-sys --allow-read --allow-write src/runtimes/deno.ts
 */
import { StowageError } from "../errors.ts";
import { type ByteChunks, byteStreamToBytes } from "../streams/readable-stream.ts";
import { maxSilenceMs, runProgram, urlOf } from "./run-service.ts";

/** Deno Deploy decides itself where its servers listen, and everybody can reach them. */
const isDeployed = Deno.env.get("DENO_DEPLOYMENT_ID") !== undefined;

await runProgram({
  bodyOf: (c) => untilSilent(byteStreamToBytes(c.req.raw.body)),
  isReachable: isDeployed,
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

/** Deno itself waits without end for a client that is silent. */
async function* untilSilent(source: ByteChunks): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const next = await inTime(source.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await source.return();
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    const problem = `Cannot read on: the client was silent for ${maxSilenceMs / 1000} seconds`;
    timer = setTimeout(() => reject(new StowageError("INTERRUPTED", problem)), maxSilenceMs);
  });
  return Promise.race([work, silence]).finally(() => clearTimeout(timer));
}
