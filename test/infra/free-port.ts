/** Ports of loopback that nobody listens on. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Any port. */
export async function freePort(): Promise<number> {
  const port = await listenOnce(0);
  if (port === undefined) throw new Error("Cannot find a free port");
  return port;
}

/** `count` ports in a row, below those that outgoing connections take, each with the one 10,000 above it free as well. */
export async function freePortPairs(count: number): Promise<number[]> {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 10_000);
    const ports = Array.from({ length: count }, (_, i) => first + i);
    const taken = await Promise.all(ports.flatMap((port) => [listenOnce(port), listenOnce(port + 10_000)]));
    if (!taken.includes(undefined)) return ports;
  }
}

/** Listens for a moment. Returns the port, or undefined if it is taken. */
async function listenOnce(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  } catch {
    return undefined;
  }
  const address = server.address();
  server.close();
  await once(server, "close");
  return address === null || typeof address === "string" ? undefined : address.port;
}
