/** The memory of the service while many clients send bodies that it refuses, and do not look for the answer. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import { startProgram } from "./start-program.ts";
import { runtimes } from "./start-runtime.ts";

const mebibyte = 1024 * 1024;
const clients = 48;
/** Less than what the service reads of a refused body. */
const bodyMiB = 48;
const settings = { STOWAGE_STORE: "memory:", STOWAGE_ALLOW_ANYONE: "true" };
/** It takes 90. With the garbage of the bodies Node took 200 and Deno 500. */
const maxMiB = 150;

/** Sends a body until all is sent or the connection ends. */
async function sendBlindly(url: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.on("error", () => undefined).pause();
  const length = bodyMiB * mebibyte;
  socket.write(`PUT /v1/load/No/Name HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: ${length}\r\n\r\n`);
  const block = Buffer.alloc(mebibyte);
  for (let sent = 0; sent < bodyMiB && !socket.destroyed; sent++) {
    if (!socket.write(block)) await Promise.race([once(socket, "drain").catch(() => undefined), closed]);
  }
  socket.destroy();
  await closed;
}

for (const runtime of runtimes.filter(({ name }) => ["node 24", "deno", "bun"].includes(name))) {
  describeIfFound(`the service on ${runtime.name}`, missingTools([runtime.tool]), () => {
    it("keeps no memory of refused bodies", { timeout: 120_000 }, async () => {
      const { child, url, ended } = await startProgram(runtime, settings);
      const service = await url;
      await Promise.all(Array.from({ length: clients }, async () => sendBlindly(service)));
      expect((await fetch(`${service}/healthz`)).status).toBe(200);
      const [, peak = ""] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
      expect(Number(peak) / 1024).toBeLessThan(maxMiB);
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
    });
  });
}
