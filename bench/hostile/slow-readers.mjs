// Clients that do not read what they ask for, and how soon others are served meanwhile. See ../README.md.
import { spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once, setMaxListeners } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { buffer } from "node:stream/consumers";
import { pack as createPack } from "tar-stream";
import { listening, peakMiBOf, print } from "../measuring.mjs";

export const name = "slow readers";

const program = new URL("../../dist/cli/stowage.js", import.meta.url).pathname;
const secret = "bench";
const tokens = [{ name: "ci", sha256: createHash("sha256").update(secret).digest("hex"), actions: ["load", "pull"] }];
const mebibyte = 2 ** 20;

/** What the attackers ask for, and how they read it: nothing, a kibibyte every two seconds, or nothing for a second at a time. */
const attacks = [
  { title: "nobody", path: "layer", readers: 0 },
  { title: "a layer of 24 MiB, not read", path: "layer" },
  { title: "… 1 KiB read every 2 s", path: "layer", reads: true },
  { title: "… asked for again each second", path: "layer", againMs: 1000 },
  { title: "a manifest of 3.5 MiB, not read", path: "manifest" },
  { title: "10,000 tags (1.2 MiB), not read", path: "tags" },
];

/** Prints a table: a line for each attack on a service of its own. `store` is a URL, a fresh directory without it. */
export async function run({ store, seconds = 60, readers = 300 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
  try {
    print("| who reads slowly | requests | ms, median | ms, p99 | ms, most | refused | peak MiB |");
    print("| --- | --: | --: | --: | --: | --: | --: |");
    for (const attack of attacks) {
      const options = { readers, ...attack, seconds };
      print(`| ${attack.title} | ${(await measure(store ?? `file:${join(folder, "store")}`, options)).join(" | ")} |`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function measure(store, { path, readers, seconds, ...how }) {
  const env = { ...process.env, STOWAGE_TOKENS: JSON.stringify(tokens), STOWAGE_ANONYMOUS_PULL: "true" };
  const command = [program, "serve", "--store", store, "--port", "0"];
  const service = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "inherit"], env });
  try {
    const url = await listening(service);
    const paths = await fill(url);
    const stop = new AbortController();
    setMaxListeners(0, stop.signal);
    const attackers = Array.from({ length: readers }, () =>
      readSlowly(url, paths[path], { ...how, signal: stop.signal }),
    );
    const times = [];
    let refused = 0;
    const ask = async (label, options) => {
      const began = performance.now();
      const isServed = await fetch(`${url}${label}`, options).then(
        async (answer) => (await answer.arrayBuffer(), answer.ok),
        () => false,
      );
      times.push(performance.now() - began);
      if (!isServed) refused++;
    };
    const endMs = Date.now() + seconds * 1000;
    const headers = { Authorization: `Bearer ${secret}` };
    const victims = [
      () => ask(paths.small),
      () => ask(paths.config),
      () => ask(paths.layer, { headers: { Range: "bytes=0-1048575" } }),
      async (i) => ask(`/v1/load/team/small:${i % 10}`, { method: "PUT", headers, body: await image({ label: i }) }),
    ].map(async (work) => {
      for (let i = 0; Date.now() < endMs; i++) {
        await work(i);
        await sleep(100);
      }
    });
    await Promise.all(victims);
    stop.abort();
    await Promise.all(attackers);
    times.sort((a, b) => a - b);
    const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(0);
    return [times.length, at(0.5), at(0.99), at(1), refused, peakMiBOf(service.pid).toFixed(0)];
  } finally {
    service.kill("SIGKILL");
    await once(service, "exit");
  }
}

/** Asks for a path and reads as `reads` says until the signal. Comes again whenever it is cut off. */
async function readSlowly(url, path, { reads = false, againMs, signal }) {
  const { hostname, port } = new URL(url);
  while (!signal.aborted) {
    const socket = connect({ host: hostname, port: Number(port), highWaterMark: 1024 });
    socket.on("error", () => undefined).write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const timer = setInterval(() => reads && socket.read(1024), 2000);
    await Promise.race([closed, aborted(signal), ...(againMs === undefined ? [] : [sleep(againMs)])]);
    clearInterval(timer);
    socket.destroy();
    await closed;
  }
}

function aborted(signal) {
  return new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

/** Loads what is asked for, and returns the paths. */
async function fill(url) {
  const load = async (reference, tar) => {
    const headers = { Authorization: `Bearer ${secret}` };
    const answer = await fetch(`${url}/v1/load/${reference}`, { method: "PUT", headers, body: tar });
    if (!answer.ok) throw new Error(`load of ${reference}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const layer = randomFillSync(Buffer.alloc(24 * mebibyte));
  const { blobs } = await load("team/app:1?verbose=true", await image({ layer, label: "layer" }));
  await load("team/large:1", await image({ label: "large", annotations: { a: "a".repeat(3.5 * mebibyte) } }));
  const tags = Array.from({ length: 10_000 }, (_, i) => `${"t".repeat(115)}${i}`);
  await load("team/tags", await image({ label: "tags", tags }));
  const config = blobs.find(({ size }) => size < 1000).digest;
  return {
    layer: `/v2/team/app/blobs/${digestOf(layer)}`,
    config: `/v2/team/app/blobs/${config}`,
    small: "/v2/team/app/manifests/1",
    manifest: "/v2/team/large/manifests/1",
    tags: "/v2/team/tags/tags/list",
  };
}

/** The tarball of an image. */
async function image({ layer = Buffer.from("layer"), label, annotations, tags = ["1"] }) {
  const pack = createPack();
  const add = (mediaType, bytes) => {
    const digest = digestOf(bytes);
    pack.entry({ name: `blobs/${digest.replace(":", "/")}` }, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const json = (value) => Buffer.from(JSON.stringify(value));
  const layers = [add("application/vnd.oci.image.layer.v1.tar", layer)];
  const rootfs = { type: "layers", diff_ids: [layers[0].digest] };
  const config = { architecture: "amd64", os: "linux", config: { Labels: { label: String(label) } }, rootfs };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = add(
    mediaType,
    json({
      schemaVersion: 2,
      mediaType,
      config: add("application/vnd.oci.image.config.v1+json", json(config)),
      layers,
      annotations,
    }),
  );
  const manifests = tags.map((tag) => ({
    ...manifest,
    ...(tags.length > 1 && { annotations: { "org.opencontainers.image.ref.name": tag } }),
  }));
  pack.entry({ name: "index.json" }, json({ schemaVersion: 2, manifests }));
  pack.finalize();
  return buffer(pack);
}

function digestOf(bytes) {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
