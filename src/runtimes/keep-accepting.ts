/**
 * Restarts a listener of Deno. When file descriptors run out, Deno fails to accept a connection, says nothing, and never
 * accepts again (seen with Deno 2.9.5). So the service connects to itself to see whether its listener still accepts.
 */
import type { Server } from "node:http";
import { type Socket, connect } from "node:net";
import type { Log } from "../http/log.ts";

const lookMs = 100;
/**
 * Looks without a new connection before the listener is tried, and again before it is restarted: two seconds each. Looks are
 * counted because a process that is short of CPU looks less often and also accepts later. A restart would reset the
 * connections that wait.
 */
const maxLooks = 20;

/** Watches until the returned function is called. */
export function keepAccepting(server: Server, log: Log): () => void {
  const bound = server.address();
  if (bound === null || typeof bound === "string") return () => undefined;
  const address = { host: bound.address, port: bound.port };
  let looks = 0;
  let trial: Socket | undefined;
  const endTrial = (): void => {
    trial?.destroy();
    trial = undefined;
  };
  const onAccepted = (): void => {
    looks = 0;
    endTrial();
  };
  server.on("connection", onAccepted);

  const look = (): void => {
    looks += 1;
    if (looks < maxLooks) return;
    looks = 0;
    if (server.listening && trial === undefined) {
      // An error means that the trial got no descriptor, and says nothing of the listener.
      trial = connect(address).on("end", onAccepted).on("error", onAccepted);
      return;
    }
    log("the listener takes no connections any more, starting it again");
    endTrial();
    if (server.listening) server.close();
    server.listen(address);
  };
  const timer = setInterval(look, lookMs);
  return () => {
    clearInterval(timer);
    endTrial();
  };
}
