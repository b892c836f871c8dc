/**
 * Restarts a listener of Deno. When file descriptors run out, Deno fails to accept a connection, reports no error, and
 * never accepts again (seen with Deno 2.9.5). So the service connects to itself to test its listener.
 */
import type { Server } from "node:http";
import { type Socket, connect } from "node:net";
import { type Report, notice } from "../events.ts";

const lookMs = 100;
/**
 * After this many checks without a new connection, this file connects to the listener. After as many more it restarts
 * the listener. Together that takes four seconds. It counts checks and not seconds, because a process that is short of
 * CPU checks less often and also accepts later. A restart would reset connections that wait.
 */
const maxLooks = 20;

/** Watches until the returned function is called. */
export function keepAccepting(server: Server, report: Report): () => void {
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
      // An error means that the trial got no descriptor. It says nothing about the listener.
      trial = connect(address).on("end", onAccepted).on("error", onAccepted);
      return;
    }
    report(notice("warn", "the listener takes no connections any more, starting it again"));
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
