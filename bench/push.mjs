// Pushes images by skopeo and by crane into Stowage and into distribution's registry, and compares the two. See README.md.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeLayout } from "./make-layout.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print } from "./measuring.mjs";
import { bucket, endAll, findTool, run, secrets, start, startGateway, startRegistryOnBucket } from "./programs.mjs";

const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "512" },
    blobs: { type: "string", default: "16" },
    images: { type: "string", default: "1" }, // pushed at the same time
    rounds: { type: "string", default: "5" },
    clients: { type: "string", default: "skopeo,crane" },
    cold: { type: "boolean", default: false }, // services have just started
    folder: { type: "string", default: tmpdir() },
  },
});

const program = new URL("../dist/cli/stowage.js", import.meta.url).pathname;
const images = Array.from({ length: Number(values.images) }, (_, i) => `v${i}`);
const folder = mkdtempSync(join(values.folder, "stowage-bench-"));
const layout = join(folder, "layout");
/** An image that is pushed first. A service that has just started tests its store, and V8 compiles its code in the first seconds. */
const small = join(folder, "small");

const clients = {
  skopeo: (from, image, host) => {
    const ends = [`oci:${from}:${image}`, `docker://${host}/team/app:${image}`];
    return [findTool("skopeo"), "copy", "--quiet", "--dest-tls-verify=false", ...ends];
  },
  crane: (from, image, host) => [findTool("crane"), "push", from, `${host}/team/app:${image}`],
};

try {
  const [mib, blobs] = [Number(values.mib), Number(values.blobs)];
  print(`node ${process.version}, ${cpus().length} cores; ${mib} MiB in ${blobs} layers of ${images.length} images`);
  await makeLayout(layout, { mib, blobs, images: images.length });
  await makeLayout(small, values.cold ? { mib: 16, blobs: 4, images: 1 } : { mib: 64, blobs: 64, images: 1 });
  const gateway = await startGateway(join(folder, "bucket"));
  const services = { stowage: startStowage, ...(findTool("registry") && { registry: startDistribution }) };
  for (const client of values.clients.split(",")) await compare(client, services, gateway);
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}

/** Each service is a fresh process with a prefix of its own, so that nothing is there before a push. */
async function startStowage(gateway, prefix) {
  const env = { ...gateway.env, STOWAGE_ALLOW_ANYONE: "true" };
  const child = start([process.execPath, program, "serve", "--store", `s3://${bucket}/${prefix}`, "--port", "0"], env);
  return { child, host: new URL(await listening(child)).host };
}

async function startDistribution({ endpoint }, prefix) {
  return startRegistryOnBucket(endpoint, prefix, folder);
}

/** Pushes in an order that alternates. Prints medians and the ratios of the pairs. */
async function compare(client, services, gateway) {
  const names = Object.keys(services);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const result = await push(client, services[name], gateway, `${name}-${client}-${round}`);
      print(`${client} ${round}  ${describe(name, result)}`);
      results[name].push(result);
    }
  }
  const medianOf = (name, key) => median(results[name].map((result) => result[key]));
  for (const name of names) {
    const keys = ["seconds", "cpuSeconds", "peakMiB"];
    print(`${client} median  ${describe(name, Object.fromEntries(keys.map((key) => [key, medianOf(name, key)])))}`);
  }
  if (names.length === 1) return print(`${client} has nothing to compare with: distribution's registry is missing`);
  const ratio = (key) => median(results.stowage.map((result, i) => result[key] / results.registry[i][key])).toFixed(2);
  print(`${client} stowage / registry, median of pairs: ${ratio("seconds")} in time, ${ratio("cpuSeconds")} in CPU`);
}

/** The seconds until all clients have ended, and the CPU time and the memory of the service. */
async function push(client, startService, gateway, prefix) {
  const { child, host } = await startService(gateway, prefix);
  await run(clients[client](small, "v0", host), {});
  const before = cpuSecondsOf(child.pid);
  const started = performance.now();
  await Promise.all(images.map(async (image) => run(clients[client](layout, image, host), {})));
  const seconds = (performance.now() - started) / 1000;
  const figures = { seconds, cpuSeconds: cpuSecondsOf(child.pid) - before, peakMiB: peakMiBOf(child.pid) };
  child.kill("SIGKILL");
  await once(child, "exit");
  gateway.removePrefix(prefix);
  return figures;
}

function describe(name, { seconds, cpuSeconds, peakMiB }) {
  return `${name.padEnd(8)} ${seconds.toFixed(2)} s  CPU ${cpuSeconds.toFixed(2)} s  peak ${peakMiB.toFixed(0)} MiB`;
}
