/** Memory of the service while it sends many large exports at once. Most of the growth is chunks that wait to be collected as garbage. */
import { readFileSync, writeFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { readableToBytes } from "../../src/streams/readable-stream.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, findS3Server } from "../servers/s3-servers.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import { startProgram } from "./start-program.ts";
import { type RuntimeUnderTest, runtimes } from "./start-runtime.ts";
import { type Trial, loaded, mebibyte, secrets, settings } from "./trial.ts";

const names = ["node 24", "deno", "bun", "lambda"];
const layerBytes = 20 * mebibyte;
const tags = Array.from({ length: 12 }, (_, i) => `team/app:${i}`);
/** An export of all images: 240 MiB. */
const path = `/v1/export/${tags.join("&image=").replace("&", "?")}`;
/** Clients that ask for the images and do not read them. */
const crowd = 20;

const s3Server = await findS3Server("seaweedfs");

describe("exports of 240 MiB", () => {
  for (const runtime of runtimes.filter(({ name }) => names.includes(name))) {
    const missing = [...missingTools([runtime.tool]), ...(typeof s3Server === "string" ? [s3Server] : [])];
    describeIfFound(`by the service on ${runtime.name}`, missing, () => {
      it("take less memory all together than one of them has bytes", { timeout: 120_000 }, async () => {
        if (typeof s3Server !== "string") await expectSmallGrowth(runtime, s3Server);
      });
    });
  }
});

async function expectSmallGrowth(runtime: RuntimeUnderTest, server: S3Server): Promise<void> {
  await makeTestBucket(createS3Client(s3Environment(server)));
  const store = { ...s3Environment(server), STOWAGE_STORE: `s3://${testBucket}/exports/${crypto.randomUUID()}` };
  const { child, url, output, ended } = await startProgram(runtime, { ...settings, HOST: "127.0.0.1", ...store });
  const trial: Trial = { url: await url, log: output, maxRequestBytes: runtime.maxRequestBytes };
  for (const name of tags) {
    await loaded(trial, await tarOf(makeLayout({ layers: [Buffer.alloc(layerBytes, name)], name })));
  }
  const status = (): string => readFileSync(`/proc/${child.pid}/status`, "utf8");
  const bytesOf = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status())?.[1]) * 1024;
  writeFileSync(`/proc/${child.pid}/clear_refs`, "5"); // the peak of the loads is forgotten
  const before = bytesOf("VmRSS");
  const readers = runtime.name === "lambda" ? [] : Array.from({ length: crowd }, () => readALittle(trial));
  expect(await lengthOf(trial)).toBeGreaterThan(tags.length * layerBytes);
  expect(bytesOf("VmHWM") - before).toBeLessThan(tags.length * layerBytes);
  for (const socket of readers) socket.destroy();
  child.kill("SIGTERM");
  await ended;
}

/** The rest stays where it is. */
function readALittle({ url }: Trial): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const headers = `Host: ${hostname}:${port}\r\nAuthorization: Bearer ${secrets.owner}`;
  socket.write(`GET ${path} HTTP/1.1\r\n${headers}\r\n\r\n`);
  return socket.once("data", () => socket.pause());
}

async function lengthOf({ url }: Trial): Promise<number> {
  const { status, body } = await fetch(url + path, { headers: { Authorization: `Bearer ${secrets.owner}` } });
  expect(status).toBe(200);
  let length = 0;
  for await (const chunk of readableToBytes(body)) length += chunk.length;
  return length;
}
