/** A crowd of clients that do not read what they pull: everybody else is served, from real stores. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { Digest } from "../../src/digest.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { type ServingCommand, newFolder, serveStowage } from "../support/run-stowage.ts";

/** More than there are connections to the store. */
const crowd = 300;
const layer = randomBytes(12_000_000);
const blobPath = `/v2/team/app/blobs/${sha256(layer)}`;
const tarball = await tarOf(makeLayout({ layers: [layer], name: "team/app:1" }));
const secret = "secret";
const tokens = [{ name: "ci", sha256: sha256(Buffer.from(secret)).slice(7), actions: ["load", "pull"] }];
const access = { STOWAGE_TOKENS: JSON.stringify(tokens), STOWAGE_ANONYMOUS_PULL: "true" };
const asToken = { Authorization: `Bearer ${secret}` };

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** Asks for the layer and reads no more of the answer than its beginning. */
async function pullSlowly(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  sockets.push(socket);
  socket.on("error", () => undefined);
  socket.write(`GET ${blobPath} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n\r\n`);
  await once(socket, "connect");
  return socket;
}

async function readToEnd(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const answer = Buffer.concat(chunks);
  return sha256(answer.subarray(answer.indexOf("\r\n\r\n") + 4));
}

/** Asks within thirty seconds. Comes again if it is told to, as registry clients do: a busy machine takes long to fill a crowd's sockets. */
async function ask(url: string, init: RequestInit = {}): Promise<{ status: number; digest: Digest }> {
  const signal = AbortSignal.timeout(30_000);
  for (;;) {
    const response = await fetch(url, { ...init, signal });
    const digest = sha256(new Uint8Array(await response.arrayBuffer()));
    if (response.status !== 429) return { status: response.status, digest };
    await sleep(1000);
  }
}

async function expectService(store: string, env: Readonly<Record<string, string>>): Promise<void> {
  const { url, ...service } = await serveStowage(["--store", store], { ...access, ...env });
  const load = { method: "PUT", headers: asToken };
  expect(await ask(`${url}/v1/load`, { ...load, body: tarball })).toMatchObject({ status: 201 });
  const slow = await Promise.all(Array.from({ length: crowd }, async () => pullSlowly(url)));
  const small = await tarOf(makeLayout({ layers: [randomBytes(1000, 2)] }));
  for (const headers of [{}, asToken]) {
    const answers = await Promise.all([
      ask(`${url}/v2/team/app/manifests/1`, { headers }),
      ask(`${url}${blobPath}`, { headers }),
      ask(`${url}/v1/load/team/small:1`, { ...load, body: small }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, expect.toBeOneOf([200, 201])]);
    expect(answers[1]?.digest).toBe(sha256(layer));
  }
  const late = await Promise.all(slow.slice(0, 10).map(readToEnd));
  expect(new Set(late)).toEqual(new Set([sha256(layer)]));
  for (const socket of slow) socket.destroy();
  service.kill("SIGTERM");
  expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
}

await describeS3Servers("a crowd that does not read, with images", (server) => {
  it("holds up nobody, and is sent the rest once it reads", { timeout: 90_000 }, async () => {
    await makeTestBucket(createS3Client(s3Environment(server)));
    await expectService(`s3://${testBucket}/slow/${crypto.randomUUID()}`, s3Environment(server));
  });
});

/** Resident memory in KiB, once it has not grown by a mebibyte for five seconds. */
async function settledKiB({ pid }: ServingCommand): Promise<number> {
  let most = 0;
  for (let quiet = 0; quiet < 5; quiet++) {
    await sleep(1000);
    const [, found = ""] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    if (Number(found) > most + 1024) quiet = 0;
    most = Math.max(most, Number(found));
  }
  return most;
}

describe("a crowd that does not read, with images in a directory", () => {
  it("takes little memory for each client", { timeout: 120_000 }, async () => {
    const service = await serveStowage(["--store", `file:${await newFolder()}`], access);
    const { url } = service;
    expect(await ask(`${url}/v1/load`, { method: "PUT", headers: asToken, body: tarball })).toMatchObject({
      status: 201,
    });
    const before = await settledKiB(service);
    await Promise.all(Array.from({ length: 3 * crowd }, async () => pullSlowly(url)));
    const kibibytes = ((await settledKiB(service)) - before) / (3 * crowd);
    expect(kibibytes).toBeLessThan(250); // chunks of 256 KiB took 400
    for (const socket of sockets) socket.destroy();
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });

  it("holds up nobody, and is sent the rest once it reads", { timeout: 90_000 }, async () => {
    await expectService(`file:${await newFolder()}`, {});
  });
});
