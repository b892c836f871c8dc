/**
 * Connections on which no request runs. When there are as many connections as are allowed, the one that has been idle for
 * longest is closed, so that a new client gets in. When the service stops, all of them are closed: Node leaves those open
 * that have never sent a request, and those whose last answer ends later.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";

export class IdleConnections {
  /** In the order in which they became idle. */
  readonly #idle = new Set<Duplex>();
  #isStopping = false;

  watch(server: Server, maxConnections: number): void {
    let open = 0;
    server.on("connection", (socket) => {
      open++;
      socket.once("close", () => {
        open--;
        this.#idle.delete(socket);
      });
      const [oldest] = this.#idle;
      if (open >= maxConnections) oldest?.destroy();
      this.#idle.add(socket);
    });
  }

  /** A request begins on the connection. */
  leave(socket: Duplex): void {
    this.#idle.delete(socket);
  }

  /** The last request on its connection has been answered. */
  enter(incoming: IncomingMessage): void {
    const { socket, complete } = incoming;
    const end = (): void => void socket.end(() => socket.destroy());
    if (!this.#isStopping) this.#idle.add(socket);
    else if (complete) end();
    else incoming.once("end", end); // a client that still sends finds its answer first
  }

  stop(): void {
    this.#isStopping = true;
    for (const socket of this.#idle) socket.destroy();
  }
}
