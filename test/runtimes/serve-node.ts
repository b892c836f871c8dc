/** The service on Node inside the test's own process, and clients that speak to it byte by byte. */
import { type Socket, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect } from "vitest";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { type Limits, defaultLimits } from "../../src/limits.ts";
import { NodeRuntime } from "../../src/runtimes/node.ts";
import type { Listener, ListenSettings } from "../../src/runtimes/run-service.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { notesIn } from "../support/notes.ts";
import { openLayout } from "../support/open-layout.ts";

export const node = new NodeRuntime();
export const layer = randomBytes(8_000_000);
export const tarball = await tarOf(makeLayout({ layers: [layer], name: "team/app:1.4" }));
/** How long a client may be silent, unless a test says otherwise. */
export const idleMs = 500;

const open: { close(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** What the service of this test has logged. */
export const log: string[] = [];
beforeEach(() => void log.splice(0));

export interface ServedStore extends Pick<AppOptions, "bodyOf" | "report"> {
  readonly store?: ObjectStore;
  readonly limits?: Partial<Limits>;
}

export async function serve(
  { store = new MemoryStore(), bodyOf = node.bodyOf, limits: given, report }: ServedStore = {},
  settings: Partial<ListenSettings> = {},
): Promise<Listener> {
  const limits = { ...defaultLimits, maxIdleSeconds: idleMs / 1000, ...given };
  const app = createApp({
    layout: openLayout(store, limits),
    access: "anyone",
    bodyOf,
    report,
    clientOf: node.clientOf,
    watchAnswer: node.watchAnswer,
  });
  const listener = await node.listen(
    app.fetch,
    { host: "127.0.0.1", port: 0, limits, keepAliveSeconds: 75, maxConnections: 100, ...settings },
    notesIn(() => log),
  );
  open.push({ close: () => (listener.cut(), void listener.close()) });
  return listener;
}

export interface Client {
  readonly socket: Socket;
  /** What the service has said so far. */
  heard(): string;
  readonly closed: Promise<unknown>;
}

export function connectTo(listener: Listener, ...lines: readonly string[]): Client {
  return say(listener, `${[...lines, "Host: 127.0.0.1"].join("\r\n")}\r\n\r\n`);
}

/** As it is, also what is no request. */
export function say({ url }: Listener, text: string): Client {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let heard = "";
  socket.on("error", () => undefined).on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")));
  socket.write(text);
  open.push({ close: () => socket.destroy() });
  return { socket, heard: () => heard, closed: new Promise((resolve) => socket.once("close", resolve)) };
}

export async function hear(client: Client, text: string): Promise<void> {
  const gone = client.closed.then(() => "closed");
  while (!client.heard().includes(text)) {
    if ((await Promise.race([gone, sleep(10)])) === "closed") break;
  }
  expect(client.heard()).toContain(text);
}
