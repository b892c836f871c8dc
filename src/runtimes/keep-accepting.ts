/**
 * Starts a listener of Deno's again. When descriptors run out, it fails to take a connection and never tries again (seen with
 * Deno 2.9.5). Deno tells nobody. So a connection of the service's own shows whether others are still taken.
 */
import type { Server } from "node:http";
import { type Socket, connect } from "node:net";

/** How long a listener may take no connection until it is tried, and then how long it may take for that one. */
const patienceMs = 2000;

/** Goes on until the function that it returns is called. */
export function keepAccepting(server: Server, log: (line: string) => void): () => void {
  const bound = server.address();
  if (bound === null || typeof bound === "string") return () => undefined;
  const at = { host: bound.address, port: bound.port };
  let isTaking = true;
  let trial: Socket | undefined;
  const seen = (): void => void (isTaking = true);
  server.on("connection", seen);

  const check = (): void => {
    if (isTaking) {
      isTaking = false;
      endTrial();
    } else if (trial === undefined) {
      // An error says that there is no descriptor for it, and nothing of the listener.
      trial = connect(at).on("end", seen).on("error", seen);
    } else {
      log("the listener takes no connections any more, starting it again");
      endTrial();
      if (server.listening) server.close();
      server.listen(at);
    }
  };
  const endTrial = (): void => {
    trial?.destroy();
    trial = undefined;
  };
  const timer = setInterval(check, patienceMs);
  return () => {
    clearInterval(timer);
    endTrial();
  };
}
