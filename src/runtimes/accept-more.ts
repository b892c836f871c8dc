/**
 * More listeners on the port of a service. Node accepts one connection of a listener in each turn of its event loop. A
 * turn can take 50 ms while many loads and pushes run. With one listener, a client that opened a connection then waited
 * for half a minute behind others that opened one each.
 */
import { once } from "node:events";
import type { Server as HttpServer } from "node:http";
import { type Server, createServer } from "node:net";
import { isNode } from "../is-node.ts";

/** Connections that are accepted in one turn of the event loop. */
const listeners = 16;

/** Can several listeners have one port? On other systems `reusePort` is an error. Deno and Bun accept by themselves. */
export const canSharePort = process.platform === "linux" && isNode();

/**
 * Throws as `listen` if the port is taken. With `reusePort`, another service of the same user would share it in
 * silence.
 */
export async function checkPort(host: string, port: number): Promise<void> {
  const server = createServer().listen(port, host);
  await once(server, "listening");
  server.close();
  await once(server, "close");
}

/**
 * Passes the connections of the other listeners to the server. It listens with `reusePort` itself. Returns the other
 * listeners: none before Node 22.12, which does not know `reusePort`.
 */
export async function acceptMore(server: HttpServer, host: string, port: number): Promise<readonly Server[]> {
  const more: Server[] = [];
  while (more.length < listeners - 1) {
    const listener = createServer((socket) => void server.emit("connection", socket));
    try {
      await once(listener.listen({ host, port, reusePort: true }), "listening");
    } catch {
      break; // one listener is enough to serve
    }
    listener.on("error", (error) => void server.emit("error", error));
    more.push(listener);
  }
  return more;
}
