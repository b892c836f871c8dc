/** Serves a store by HTTP inside the test's own process, for clients that need an address. */
import { once } from "node:events";
import { createAdaptorServer } from "@hono/node-server";
import { createApp } from "../../src/http/app.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { openLayout } from "./open-layout.ts";

/** The service ends when `use` does. */
export async function withService(store: ObjectStore, use: (url: string) => Promise<void>): Promise<void> {
  const app = createApp({ layout: openLayout(store), access: "anyone" });
  const server = createAdaptorServer({ fetch: app.fetch });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error(`expected a port, found ${address}`);
  try {
    await use(`http://127.0.0.1:${address.port}`);
  } finally {
    server.close();
  }
}
