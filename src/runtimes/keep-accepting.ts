/**
 * Starts a listener of Deno's again. When descriptors run out, it fails to take a connection and never tries again (seen with
 * Deno 2.9.5). Deno tells nobody. So a connection of the service's own shows whether others are still taken.
 */
import type { Server } from "node:http";
import { type Socket, connect } from "node:net";

/** The listener is looked at this often. */
const lookMs = 100;
/**
 * Looks without a new connection until the listener is tried, and as many again until it is started again: two seconds each.
 * They are counted, not timed. A process that is short of CPU looks less often, and takes connections as late: a start of its
 * listener would reset those that wait.
 */
const maxLooks = 20;

/** Goes on until the function that it returns is called. */
export function keepAccepting(server: Server, log: (line: string) => void): () => void {
  const bound = server.address();
  if (bound === null || typeof bound === "string") return () => undefined;
  const at = { host: bound.address, port: bound.port };
  let looks = 0;
  let trial: Socket | undefined;
  const endTrial = (): void => {
    trial?.destroy();
    trial = undefined;
  };
  const seen = (): void => {
    looks = 0;
    endTrial();
  };
  server.on("connection", seen);

  const look = (): void => {
    looks += 1;
    if (looks < maxLooks) return;
    looks = 0;
    if (server.listening && trial === undefined) {
      // An error says that there is no descriptor for it, and nothing of the listener.
      trial = connect(at).on("end", seen).on("error", seen);
      return;
    }
    log("the listener takes no connections any more, starting it again");
    endTrial();
    if (server.listening) server.close();
    server.listen(at);
  };
  const timer = setInterval(look, lookMs);
  return () => {
    clearInterval(timer);
    endTrial();
  };
}
