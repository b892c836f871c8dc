// Requests of one caller that hold what they can, for a minute each. Meanwhile another caller loads and pulls. See README.md.
import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker, isMainThread, workerData } from "node:worker_threads";
import { listening, peakMiBOf, print } from "../measuring.mjs";

export const name = "attackers";

const mebibyte = 1024 * 1024;
const tokens = ["mallory", "victim"].map((name) => ({
  name,
  sha256: createHash("sha256").update(name).digest("hex"),
  actions: ["load", "pull"],
  repositories: ["**"],
}));

/** By name: what one attacker sends, again whenever it is cut off, and how many there are. */
const attacks = {
  "64 loads of headers alone": {
    count: 64,
    request: () => head("PUT /v1/load/mallory/x:1", 9_000_000),
  },
  "64 loads that fall silent": {
    count: 64,
    request: () => Buffer.concat([head("PUT /v1/load/mallory/x:1", 9_000_000), begunLayer()]),
  },
  "9 loads that send 1500 bytes a second": {
    count: 9,
    request: () => Buffer.concat([head("PUT /v1/load/mallory/x:1", 9_000_000), begunLayer()]),
    drip: Buffer.alloc(1500),
  },
  "24 parts of headers alone": {
    count: 24,
    request: (i, parts) => head(`PUT ${parts[i].path}`, parts[i].size),
  },
  "24 parts that fall silent": {
    count: 24,
    request: (i, parts) => Buffer.concat([head(`PUT ${parts[i].path}`, parts[i].size), Buffer.from("a")]),
  },
  "400 JSON bodies that never end": {
    count: 400,
    request: () => Buffer.concat([head("POST /v1/blobs/missing", mebibyte), Buffer.alloc(mebibyte - 100, "[")]),
  },
  "3 loads of an index with 18,000 absent manifests": {
    count: 3,
    request: () => Buffer.concat([head("PUT /v1/load/mallory/x:1", sparse().length), sparse()]),
  },
};

/** `seconds` is how long each attack lasts. */
export async function run({ seconds = 60 } = {}) {
  print("| attack | requests | failed | median ms | p99 ms | most ms | after it, ms | peak MiB |");
  print("| --- | --: | --: | --: | --: | --: | --: | --: |");
  for (const [title, attack] of Object.entries(attacks)) await measure(title, attack, seconds);
}

async function measure(title, attack, seconds) {
  const folder = await mkdtemp(join(tmpdir(), "stowage-bench-"));
  const program = fileURLToPath(new URL("../../dist/cli/stowage.js", import.meta.url));
  const env = { ...process.env, STOWAGE_TOKENS: JSON.stringify(tokens), PORT: "0" };
  const service = spawn(process.execPath, [program, "serve", "--store", `file:${folder}`], { env });
  try {
    const url = await listening(service);
    await loadImage(url, "mallory");
    const attackers = new Worker(new URL(import.meta.url), { workerData: { title, url } });
    await sleep(1000);
    const times = [];
    let failed = 0;
    const endMs = performance.now() + seconds * 1000;
    while (performance.now() < endMs) {
      for (const request of [loadImage, pullImage]) {
        const began = performance.now();
        if (!(await request(url, "victim"))) failed++;
        times.push(performance.now() - began);
      }
      await sleep(100);
    }
    await attackers.terminate();
    await sleep(1000);
    const began = performance.now();
    if (!(await loadImage(url, "victim"))) failed++;
    const afterMs = performance.now() - began;
    const [median, p99, most] = [0.5, 0.99, 1].map((share) => quantile(times, share).toFixed(0));
    const peak = peakMiBOf(service.pid).toFixed(0);
    print(
      `| ${title} | ${times.length} | ${failed} | ${median} | ${p99} | ${most} | ${afterMs.toFixed(0)} | ${peak} |`,
    );
  } finally {
    service.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

/** A thread of their own is for the attackers, so that the other caller's clock counts no work of theirs. */
async function attackFor({ title, url }) {
  const attack = attacks[title];
  const parts = await beginUpload(url);
  for (let i = 0; i < attack.count; i++) void goOn(url, () => attack.request(i, parts), attack);
}

/** One attacker. It connects again a second after it was answered or cut off. */
async function goOn(url, request, { drip }) {
  const { hostname, port } = new URL(url);
  for (;;) {
    const socket = connect(Number(port), hostname);
    const dripping = setInterval(() => drip && socket.write(drip), 1000);
    await new Promise((resolve) => {
      socket.on("error", resolve).on("close", resolve).on("data", resolve);
      socket.write(request());
    });
    clearInterval(dripping);
    socket.destroy();
    await sleep(1000);
  }
}

function head(line, length) {
  return Buffer.from(
    `${line} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer mallory\r\nContent-Length: ${length}\r\n\r\n`,
  );
}

/** A header that promises a layer of 8 MiB, and the first of it. */
function begunLayer() {
  return Buffer.concat([entryHeader(`blobs/sha256/${"0".repeat(64)}`, 8 * mebibyte), Buffer.alloc(512)]);
}

async function beginUpload(url) {
  const init = { method: "POST", body: JSON.stringify({ size: 24 * 8 * mebibyte }) };
  const response = await fetch(`${url}/v1/uploads`, { ...init, headers: { Authorization: "Bearer mallory" } });
  const { parts } = await response.json();
  return parts.map((part) => ({ path: part.url.slice(url.length), size: part.size }));
}

let loads = 0;

/** Loads an image of one layer of 1 MiB that the store does not have. */
async function loadImage(url, caller) {
  const body = layout([image(Buffer.alloc(mebibyte, `load ${loads++} `))]);
  const init = { method: "PUT", body, headers: { Authorization: `Bearer ${caller}` } };
  const response = await fetch(`${url}/v1/load/victim/app:1`, init);
  await response.arrayBuffer();
  return response.ok;
}

async function pullImage(url) {
  const headers = { Authorization: "Bearer victim" };
  const manifest = await fetch(`${url}/v2/victim/app/manifests/1`, { headers });
  const { layers } = await manifest.json();
  const layer = await fetch(`${url}/v2/victim/app/blobs/${layers[0].digest}`, { headers });
  return (await layer.arrayBuffer()).byteLength === mebibyte;
}

let sparseTarball;

/** A load of an index that names one image, and 18,000 that are nowhere. */
function sparse() {
  return (sparseTarball ??= makeSparse());
}

function makeSparse() {
  const { root, blobs } = image(Buffer.from("sparse"));
  const absent = Array.from({ length: 18_000 }, (_, i) => ({ ...root, digest: digestOf(Buffer.from(`absent ${i}`)) }));
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [root, ...absent] }));
  const named = { mediaType: indexType, digest: digestOf(index), size: index.length };
  return layout([{ root: named, blobs: [...blobs, index] }]);
}

const indexType = "application/vnd.oci.image.index.v1+json";
const manifestType = "application/vnd.oci.image.manifest.v1+json";

function image(layer) {
  const config = Buffer.from("{}");
  const describe = (mediaType, bytes) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: describe("application/vnd.oci.image.config.v1+json", config),
      layers: [describe("application/vnd.oci.image.layer.v1.tar", layer)],
    }),
  );
  return { root: describe(manifestType, manifest), blobs: [layer, config, manifest] };
}

function layout(images) {
  const index = { schemaVersion: 2, manifests: images.map(({ root }) => root) };
  const blobs = images.flatMap(({ blobs }) =>
    blobs.map((bytes) => [`blobs/${digestOf(bytes).replace(":", "/")}`, bytes]),
  );
  const files = [...blobs, ["index.json", Buffer.from(JSON.stringify(index))]];
  const entries = files.flatMap(([path, bytes]) => [
    entryHeader(path, bytes.length),
    bytes,
    Buffer.alloc((512 - (bytes.length % 512)) % 512),
  ]);
  return Buffer.concat([...entries, Buffer.alloc(1024)]);
}

function entryHeader(path, size) {
  const header = Buffer.alloc(512);
  header.write(path, 0);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("        0", 148);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

function digestOf(bytes) {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function quantile(numbers, share) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.ceil(share * sorted.length) - 1];
}

if (!isMainThread) await attackFor(workerData);
