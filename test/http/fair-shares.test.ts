/** One caller's requests that hold what they can, over real sockets: another caller is served while they go on. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { StowageError } from "../../src/errors.ts";
import { createApp } from "../../src/http/app.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf, types, withBlob } from "../support/layout.ts";
import { decorate } from "../support/loading.ts";
import { type ServingCommand, newFolder, serveStowage, until } from "../support/run-stowage.ts";
import { ustarHeader } from "../support/ustar-header.ts";
import { openLayout } from "../support/open-layout.ts";

const mebibyte = 1024 * 1024;
const maxBufferBytes = 64 * mebibyte;
const tokens = ["mallory", "victim"].map((name) => ({
  name,
  sha256: createHash("sha256").update(name).digest("hex"),
  actions: ["load", "pull"] as const,
  repositories: ["**"],
}));
/** More than is free beside seven parts. */
const large = await tarOf(makeLayout({ layers: [randomBytes(8 * mebibyte, 8)] }));
const small = await tarOf(makeLayout({ layers: [randomBytes(2 * mebibyte, 7)] }));
/** The header of an entry with a layer of 8 MiB, and the layer's first byte. */
const begunLayer = Buffer.concat([
  ustarHeader(`blobs/sha256/${"0".repeat(64)}`, 8 * mebibyte),
  Buffer.from("a"),
  Buffer.alloc(511),
]);

/** A fresh one for each test: the callers of the one before would still be present. */
let service: ServingCommand;
let sockets: Attacker[] = [];
beforeEach(async () => {
  const settings = { STOWAGE_TOKENS: JSON.stringify(tokens), STOWAGE_MAX_BUFFER_BYTES: String(maxBufferBytes) };
  service = await serveStowage(["--store", `file:${await newFolder()}`], settings);
  return () => service.kill("SIGKILL");
});
afterEach(() => {
  for (const { socket } of sockets) socket.destroy();
  sockets = [];
});

interface Attacker {
  readonly socket: Socket;
  /** The status of the answer, if one has come. */
  status(): number | undefined;
}

/** Sends the head of a request with mallory's token, and the first bytes of its body. */
async function attack(
  line: string,
  { length, begin = "" }: { length: number; begin?: Uint8Array | string },
): Promise<void> {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  let received = "";
  socket.on("data", (bytes: Buffer) => (received += bytes.toString("latin1")));
  socket.on("error", () => undefined);
  const answered = (): number | undefined => Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1] ?? "0") || undefined;
  sockets.push({ socket, status: answered });
  await once(socket, "connect");
  const head = `${line} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer mallory\r\nContent-Length: ${length}\r\n\r\n`;
  socket.write(Buffer.concat([Buffer.from(head), Buffer.from(begin)]));
}

async function attackAll(count: number, begin: (i: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, async (_, i) => begin(i)));
  await sleep(500);
}

/** Statuses of the answers that the attackers got, without those that got none. */
function answers(): number[] {
  return sockets.flatMap((attacker) => attacker.status() ?? []);
}

async function loadAsVictim(tarball: Uint8Array = small): Promise<number> {
  const init = { method: "PUT", body: tarball, headers: { Authorization: "Bearer victim" } };
  return (await fetch(`${service.url}/v1/load/victim/app:1`, init)).status;
}

async function beginUpload(size: number): Promise<{ readonly path: string; readonly size: number }[]> {
  const init = { method: "POST", body: JSON.stringify({ size }), headers: { Authorization: "Bearer mallory" } };
  const response = await fetch(`${service.url}/v1/uploads`, init);
  const { parts } = (await response.json()) as { parts: { url: string; size: number }[] };
  return parts.map((part) => ({ path: part.url.slice(service.url.length), size: part.size }));
}

describe("requests of headers alone", () => {
  it("hold no memory for parts of an upload", async () => {
    const parts = await beginUpload(24 * 8 * mebibyte);
    await attackAll(24, async (i) => attack(`PUT ${parts[i]?.path}`, { length: parts[i]?.size ?? 0 }));
    expect(await loadAsVictim()).toBeLessThan(300);
    expect(answers()).toEqual([]);
  });

  it("hold no turn for loads", async () => {
    await attackAll(64, async () => attack("PUT /v1/load/mallory/x:1", { length: 9_000_000 }));
    expect(await loadAsVictim()).toBeLessThan(300);
    expect(answers()).toEqual([]);
  });
});

describe("a caller that holds all it can and sends no more", () => {
  it("loses turns of loads to another", { timeout: 30_000 }, async () => {
    await attackAll(64, async () =>
      attack("PUT /v1/load/mallory/x:1", { length: 9_000_000, begin: begunLayer.subarray(0, 5) }),
    );
    expect(await loadAsVictim()).toBeLessThan(300);
    expect(new Set(answers())).toEqual(new Set([408]));
  });

  it("loses memory for parts to another, and not all of it", { timeout: 30_000 }, async () => {
    const parts = await beginUpload(24 * 8 * mebibyte);
    await attackAll(24, async (i) => attack(`PUT ${parts[i]?.path}`, { length: parts[i]?.size ?? 0, begin: "a" }));
    expect(await loadAsVictim(large)).toBeLessThan(300);
    expect(new Set(answers())).toEqual(new Set([408]));
    expect(answers().length).toBeLessThan(24);
  });

  it("loses memory for blobs to another, also if it sends a little now and then", { timeout: 30_000 }, async () => {
    await attackAll(9, async () => attack("PUT /v1/load/mallory/x:1", { length: 9_000_000, begin: begunLayer }));
    const drip = setInterval(() => sockets.forEach(({ socket }) => socket.write(Buffer.alloc(1500))), 500);
    try {
      expect(await loadAsVictim()).toBeLessThan(300);
    } finally {
      clearInterval(drip);
    }
    expect(new Set(answers())).toEqual(new Set([408]));
  });

  it("is left alone while nobody else waits", { timeout: 30_000 }, async () => {
    await attackAll(4, async () => attack("PUT /v1/load/mallory/x:1", { length: 9_000_000, begin: begunLayer }));
    await sleep(6000);
    expect(answers()).toEqual([]);
  });
});

describe("JSON bodies that never end", () => {
  it("take no more memory than the budget and a constant", { timeout: 30_000 }, async () => {
    const body = Buffer.from(`{"digests":["${"a".repeat(mebibyte - 100)}`);
    await attackAll(300, async () => attack("POST /v1/blobs/missing", { length: mebibyte, begin: body }));
    const asked = await fetch(`${service.url}/v1/blobs/missing`, {
      method: "POST",
      body: JSON.stringify({ digests: [] }),
      headers: { Authorization: "Bearer victim" },
    });
    expect(asked.status).toBe(200);
    expect(await loadAsVictim()).toBeLessThan(300);
    await until(() => (answers().length >= 150 ? true : undefined)); // no more than 128 wait
    expect(residentBytes()).toBeLessThan(maxBufferBytes + 200 * mebibyte);
  });
});

function residentBytes(): number {
  const [, kibibytes = ""] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`, "utf8")) ?? [];
  return Number(kibibytes) * 1024;
}

describe("indexes that name many manifests which are nowhere", () => {
  it("keep no turn for JSON while the store is asked for them", { timeout: 30_000 }, async () => {
    const ending = new AbortController();
    const store = withLatency(new MemoryStore());
    const app = createApp({
      layout: openLayout(store),
      access: { tokens, anonymousPull: false },
      signal: ending.signal,
    });
    const put = async (caller: string, tarball: Uint8Array): Promise<number> => {
      const init = { method: "PUT", body: tarball, headers: { Authorization: `Bearer ${caller}` } };
      return (await app.request(`/v1/load/${caller}/app:1`, init)).status;
    };
    const image = makeLayout({ manifest: { annotations: { large: "v".repeat(300_000) } } });
    const absent = Array.from({ length: 18_000 }, (_, i) => ({
      mediaType: types.manifest,
      digest: sha256(Buffer.from([i, i >> 8])),
      size: 100,
    }));
    const manifest = { mediaType: types.manifest, digest: image.digest, size: image.roots[0]?.size };
    const index = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: types.index, manifests: [manifest, ...absent] }),
    );
    const root = { mediaType: types.index, digest: sha256(index), size: index.length };
    const evil = await tarOf({ ...withBlob(image, index), roots: [root] });
    const victims = await tarOf(image);
    let done = 0;
    const attackers = [1, 2, 3].map(async () => put("mallory", evil).finally(() => done++));
    await sleep(500);
    expect(await put("victim", victims)).toBe(201);
    expect(done).toBe(0); // each takes at least 11 seconds
    ending.abort(new StowageError("INTERRUPTED", "enough"));
    expect(await Promise.all(attackers)).toEqual([503, 503, 503]);
  });
});

/** As over a network: each answer takes some milliseconds. */
function withLatency(objects: MemoryStore): ObjectStore {
  return decorate(objects, {
    head: async (...args) => {
      await sleep(20);
      return objects.head(...args);
    },
    get: async (...args) => {
      await sleep(20);
      return objects.get(...args);
    },
  });
}
