/** What the service on Node holds of a body that comes in chunks of one byte, as long as nobody reads it. */
import { once } from "node:events";
import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import { describe, expect, it } from "vitest";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { connectTo, hear, node, serve } from "./serve-node.ts";

describe("the service on Node, sent chunks of one byte", () => {
  it("keeps those together that come together, and loads what they hold", async () => {
    const tarball = await tarOf(makeLayout({ layers: [randomBytes(20_000)], name: "team/app:1.4" }));
    let goOn = (): void => undefined;
    const sent = new Promise<void>((resolve) => (goOn = resolve));
    let chunks = 0;
    const listener = await serve({
      async *bodyOf(c: Context<{ Bindings: HttpBindings }>) {
        await sent;
        for await (const chunk of node.bodyOf(c)) {
          chunks++;
          yield chunk;
        }
      },
      limits: { maxIdleSeconds: 60 },
    });
    const client = connectTo(listener, "PUT /v1/load HTTP/1.1", "Transfer-Encoding: chunked");
    await once(client.socket, "connect");
    const text = Array.from(tarball, (byte) => `1\r\n${String.fromCharCode(byte)}\r\n`).join("");
    await new Promise((resolve) => client.socket.write(`${text}0\r\n\r\n`, "latin1", resolve));
    goOn();
    await hear(client, "team/app");
    expect(client.heard()).toMatch(/^HTTP\/1\.1 201 /);
    expect(chunks).toBeLessThan(tarball.length / 10);
  });
});
