/** The service's memory with as many loads or pushes at once as it takes, and with clients that fall silent half way. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { bytesToReadable } from "../../src/streams/readable-stream.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { findS3Server } from "../servers/s3-servers.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";
import { streamedLoad } from "../support/streamed-load.ts";

const mebibyte = 1024 * 1024;
const loads = 64;
/** More than a part of any store. */
const layerMebibytes = 24;
const maxBufferBytes = 64 * mebibyte;
/** Who has no share of it is not read, and so not known to be silent: with little of it they are found out one by one. */
const largeBufferBytes = 512 * mebibyte;
/**
 * What the service may take beside its budget: 100 MiB for the program, and 2 MiB for each load, in which lie what its socket
 * and its tar reader have read ahead and what waits to be collected as garbage. With the budget a fifth of what they bring.
 */
const constantBytes = (100 + 2 * loads) * mebibyte;
const pushes = 32;

const layerBytes = layerMebibytes * mebibyte;

function makeLayer(i: number): { readonly digest: string; readonly layer: () => AsyncGenerator<Buffer> } {
  const block = Buffer.alloc(mebibyte, `the ${i}th `);
  const hash = createHash("sha256");
  for (let n = 0; n < layerBytes / mebibyte; n++) hash.update(block);
  const layer = async function* (): AsyncGenerator<Buffer> {
    for (let n = 0; n < layerBytes / mebibyte; n++) yield block;
  };
  return { digest: `sha256:${hash.digest("hex")}`, layer };
}

/** Pushes a layer as docker does, as a stream of unknown length, or as containerd does, whole. Returns the statuses. */
async function push(url: string, i: number): Promise<number[]> {
  const { digest, layer } = makeLayer(i);
  const begun = await fetch(`${url}/v2/crowd/app/blobs/uploads/`, { method: "POST" });
  const session = `${url}${begun.headers.get("Location")}`;
  const end = `${session}?digest=${digest}`;
  const streamed = { body: bytesToReadable(layer()), duplex: "half" } as const;
  if (i % 2 === 0) {
    const headers = { "Content-Length": String(layerBytes) };
    return [(await fetch(end, { method: "PUT", headers, ...streamed })).status];
  }
  const patched = await fetch(session, { method: "PATCH", ...streamed });
  return [patched.status, (await fetch(end, { method: "PUT" })).status];
}

/** Sends the load, or so much of it and then nothing more, and returns the answer's status. */
async function send(url: string, i: number, { stallAfter }: { stallAfter?: number } = {}): Promise<number> {
  const { size, body } = streamedLoad(`the ${i}th `, layerMebibytes); // no two have a layer in common
  return new Promise((resolve, reject) => {
    const path = `${url}/v1/load/crowd/app-${i}:1`;
    const outgoing = request(path, { method: "PUT", agent: false, headers: { "Content-Length": size } }, (answer) => {
      answer.resume().on("end", () => resolve(answer.statusCode ?? 0));
      if (stallAfter !== undefined) source.destroy();
    });
    const source = Readable.from(stallAfter === undefined ? body() : stalled(body(), stallAfter));
    outgoing.on("error", reject);
    source.pipe(outgoing);
  });
}

async function* stalled(chunks: AsyncGenerator<Buffer>, count: number): AsyncGenerator<Buffer> {
  let sent = 0;
  for await (const chunk of chunks) {
    yield chunk;
    sent += chunk.length;
    if (sent >= count) await new Promise(() => undefined);
  }
}

/** The most that it ever had. */
function peakBytes({ pid }: ServingCommand): number {
  const [, kibibytes = ""] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) * 1024;
}

async function stop(service: ServingCommand): Promise<void> {
  service.kill("SIGTERM");
  expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
}

function testMemory(start: (env: Readonly<Record<string, string>>) => Promise<ServingCommand>): void {
  it(`takes ${loads} loads at once within its budget and a constant`, { timeout: 120_000 }, async () => {
    const service = await start({ STOWAGE_MAX_BUFFER_BYTES: String(maxBufferBytes) });
    const statuses = await Promise.all(Array.from({ length: loads }, async (_, i) => send(service.url, i)));
    expect(new Set(statuses)).toEqual(new Set([201]));
    expect(peakBytes(service)).toBeLessThan(maxBufferBytes + constantBytes);
    await stop(service);
  });

  it(`takes ${pushes} pushes at once within its budget and a constant`, { timeout: 120_000 }, async () => {
    const service = await start({ STOWAGE_MAX_BUFFER_BYTES: String(maxBufferBytes) });
    const statuses = await Promise.all(Array.from({ length: pushes }, async (_, i) => push(service.url, i)));
    expect(statuses).toEqual(Array.from({ length: pushes }, (_, i) => (i % 2 === 0 ? [201] : [202, 201])));
    expect(peakBytes(service)).toBeLessThan(maxBufferBytes + constantBytes);
    await stop(service);
  });

  it("ends clients that fall silent half way, and takes others then", { timeout: 120_000 }, async () => {
    const service = await start({ STOWAGE_MAX_IDLE_SECONDS: "2", STOWAGE_MAX_BUFFER_BYTES: String(largeBufferBytes) });
    const stallAfter = 8 * mebibyte;
    const silent = Array.from({ length: loads }, async (_, i) => send(service.url, i, { stallAfter }));
    await sleep(1000);
    const oneTooMany = await fetch(`${service.url}/v1/load`, { method: "PUT", body: "anything" });
    expect(oneTooMany.status).toBe(400); // it waited for its turn, and is no archive
    expect(new Set(await Promise.all(silent))).toEqual(new Set([408]));
    expect(await send(service.url, 1000)).toBe(201);
    expect(peakBytes(service)).toBeLessThan(largeBufferBytes + constantBytes);
    await stop(service);
  });
}

describe("the service, its images in a directory", () => {
  testMemory(async (env) => serveStowage(["--store", `file:${await newFolder()}`], env));
});

const server = await findS3Server("seaweedfs");
describeIfFound("the service, its images in S3", typeof server === "string" ? [server] : [], () => {
  if (typeof server === "string") return;
  testMemory(async (env) => {
    await makeTestBucket(createS3Client(s3Environment(server)));
    const store = `s3://${testBucket}/memory/${crypto.randomUUID()}`;
    return serveStowage(["--store", store], { ...s3Environment(server), ...env });
  });
});
