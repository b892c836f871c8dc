// Pulls by curl from builds of Stowage and from distribution's registry, all over one S3 server. See README.md.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { connect, createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { makeLayout } from "./make-layout.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print } from "./measuring.mjs";
import { bucket, findTool, makeFolder, run, start, startGateway, startRegistryOnBucket } from "./programs.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true, // other folders with a `dist` of Stowage in them
  options: {
    mib: { type: "string", default: "400" },
    rounds: { type: "string", default: "7" },
    clients: { type: "string", default: "100" }, // that pull the manifest at once
    seconds: { type: "string", default: "4" }, // of manifests
    what: { type: "string", default: "blob,export,far,manifest" },
    delay: { type: "string", default: "30" }, // of the far store's answers, in milliseconds
    "mb-per-second": { type: "string", default: "80" }, // of each connection to the far store
    node: { type: "string", default: process.execPath },
    flags: { type: "string", default: "" }, // for node
    folder: { type: "string", default: tmpdir() },
  },
});

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";
const here = new URL("..", import.meta.url).pathname;
const folder = makeFolder(values.folder);
const layout = join(folder, "layout");
const prefix = "images";
const rounds = Number(values.rounds);

const builds = Object.fromEntries(
  [here, ...positionals].map((path, i) => [i === 0 ? "stowage" : `build ${i}`, resolve(path, "dist/cli/stowage.js")]),
);

/** The store's address for the services. */
let endpoint;

print(`node ${process.version}, ${cpus().length} cores; ${rounds} rounds, medians, ratios by pairs`);
await makeLayout(layout, { mib: Number(values.mib), blobs: 1, images: 1 });
const gateway = await startGateway(join(folder, "bucket"));
endpoint = gateway.endpoint;
const services = Object.fromEntries(
  Object.entries(builds).map(([name, program]) => [name, () => startStowage(gateway.env, program)]),
);
if (findTool("registry") !== undefined) services.registry = startDistribution;
await fill(services);
const far = await startFar(gateway.endpoint);
const digest = layerDigest();
const size = Number(values.mib);
for (const what of values.what.split(",")) {
  if (what === "blob") await compareDownloads(`blob of ${size} MiB`, services, `/v2/team/app/blobs/${digest}`);
  if (what === "export") {
    const { registry: _, ...exporters } = services;
    await compareDownloads(`export of ${size} MiB`, exporters, "/v1/export/team/app:v0");
  }
  if (what === "far") {
    endpoint = far.endpoint;
    const store = `of a store at ${values.delay} ms and ${values["mb-per-second"]} MB/s a connection`;
    await compareDownloads(`blob of ${size} MiB ${store}`, services, `/v2/team/app/blobs/${digest}`);
    endpoint = gateway.endpoint;
  }
  if (what === "manifest") await compareManifests(services);
}
process.exit(); // the gateway would keep it alive

async function startStowage(settings, program) {
  const env = { ...settings, AWS_ENDPOINT_URL_S3: endpoint, STOWAGE_ALLOW_ANYONE: "true" };
  const flags = values.flags === "" ? [] : values.flags.split(" ");
  const child = start(
    [values.node, ...flags, program, "serve", "--store", `s3://${bucket}/${prefix}`, "--port", "0"],
    env,
  );
  return { child, host: new URL(await listening(child)).host };
}

async function startDistribution() {
  return startRegistryOnBucket(endpoint, "registry", folder);
}

/** All builds of Stowage share one prefix. */
async function fill(services) {
  for (const name of ["stowage", "registry"].filter((each) => each in services)) {
    const service = await services[name]();
    await run([findTool("crane"), "push", layout, `${service.host}/team/app:v0`], {});
    await end(service);
  }
}

/** The store behind a line: what it sends comes later, and no faster than a rate on each connection. */
async function startFar(target) {
  const delayMs = Number(values.delay);
  const bytesPerMs = Number(values["mb-per-second"]) * 1000;
  const { hostname, port } = new URL(target);
  const server = createServer((near) => {
    const far = connect({ host: hostname, port });
    for (const socket of [near, far]) socket.on("error", () => undefined).setNoDelay();
    near.on("close", () => far.destroy()).pipe(far);
    let busyUntil = 0; // when the line has sent all before
    let line = Promise.resolve();
    far.on("data", (chunk) => {
      const now = performance.now();
      busyUntil = Math.max(busyUntil, now) + chunk.length / bytesPerMs;
      const dueMs = busyUntil + delayMs;
      if (busyUntil - now > 50) far.pause();
      line = line
        .then(async () => {
          const aheadMs = dueMs - performance.now();
          if (aheadMs > 1) await sleep(aheadMs);
          if (!near.write(chunk)) await once(near, "drain");
          far.resume();
        })
        .catch(() => far.destroy()); // the service has closed the connection
    });
    far.on("end", () => void line.then(() => near.end()));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  server.unref();
  return { endpoint: `http://127.0.0.1:${server.address().port}` };
}

async function end({ child }) {
  child.kill("SIGKILL");
  await once(child, "exit");
}

function layerDigest() {
  const read = (path) => JSON.parse(readFileSync(join(layout, path), "utf8"));
  const [{ digest }] = read("index.json").manifests;
  return read(`blobs/${digest.replace(":", "/")}`).layers[0].digest;
}

/** Runs `measure` in each round with each service, in an order that alternates. Returns the results by service. */
async function alternate(services, measure) {
  const names = Object.keys(services);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) results[name].push(await measure(services[name]));
  }
  return results;
}

/** Prints medians, and the ratios of the first service to each other one. */
function report(title, results, units) {
  const names = Object.keys(results);
  for (const name of names) {
    const of = (key) => median(results[name].map((result) => result[key]));
    const texts = Object.entries(units).map(([key, [label, digits]]) => `${label} ${of(key).toFixed(digits)}`);
    print(`${title}  ${name.padEnd(8)}  ${texts.join("  ")}`);
  }
  const [first, ...others] = names;
  for (const other of others) {
    const ratio = (key) => median(results[first].map((result, i) => result[key] / results[other][i][key])).toFixed(2);
    const texts = Object.entries(units).map(([key, [label]]) => `${label} ${ratio(key)}`);
    print(`${title}  ${first} / ${other}: ${texts.join("  ")}`);
  }
}

/** One download by a fresh service, which has sent the same once before. */
async function compareDownloads(title, services, path) {
  const results = await alternate(services, async (startService) => {
    const service = await startService();
    const { child, host } = service;
    await download(`http://${host}${path}`);
    const before = cpuSecondsOf(child.pid);
    const seconds = await download(`http://${host}${path}`);
    const figures = { seconds, cpuSeconds: cpuSecondsOf(child.pid) - before, peakMiB: peakMiBOf(child.pid) };
    await end(service);
    return figures;
  });
  report(title, results, { seconds: ["s", 2], cpuSeconds: ["CPU s", 2], peakMiB: ["peak MiB", 0] });
}

async function download(url) {
  return (await run(["curl", "-sS", "--fail-with-body", "--noproxy", "*", "-o", "/dev/null", url], {})).seconds;
}

/** The manifest by its tag, by many clients with a connection each, from the first request to a fresh service on. */
async function compareManifests(services) {
  const results = await alternate(services, async (startService) => {
    const service = await startService();
    const figures = await pullManifests(service);
    await end(service);
    return figures;
  });
  report(`manifest by tag, ${values.clients} clients`, results, {
    rate: ["a second", 0],
    firstRate: ["in the first", 0],
    p50: ["p50 ms", 1],
    p99: ["p99 ms", 1],
    firstP50: ["first second p50 ms", 1],
    firstP99: ["p99 ms", 1],
    cpuMs: ["CPU ms each", 2],
  });
}

async function pullManifests({ child, host }) {
  const clients = Number(values.clients);
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const url = `http://${host}/v2/team/app/manifests/v0`;
  const headers = { Accept: "application/vnd.oci.image.manifest.v1+json" };
  const times = []; // when each request began, and how long it took
  const before = cpuSecondsOf(child.pid);
  const started = performance.now();
  const endMs = started + Number(values.seconds) * 1000;
  const pull = async () => {
    while (performance.now() < endMs) {
      const began = performance.now();
      const request = get(url, { agent, headers });
      const [answer] = await once(request, "response");
      answer.resume();
      await once(answer, "end");
      if (answer.statusCode !== 200) throw new Error(`found status ${answer.statusCode}, expected 200`);
      times.push({ at: began - started, ms: performance.now() - began });
    }
  };
  await Promise.all(Array.from({ length: clients }, pull));
  const seconds = (performance.now() - started) / 1000;
  const cpuMs = ((cpuSecondsOf(child.pid) - before) * 1000) / times.length;
  agent.destroy();
  const first = times.filter(({ at, ms }) => at + ms < 1000).length;
  const early = sorted(times.filter(({ at }) => at < 1000));
  const later = sorted(times.filter(({ at }) => at >= 1000));
  return {
    rate: (times.length - first) / (seconds - 1),
    firstRate: first,
    p50: quantile(later, 0.5),
    p99: quantile(later, 0.99),
    firstP50: quantile(early, 0.5),
    firstP99: quantile(early, 0.99),
    cpuMs,
  };
}

function sorted(times) {
  return times.map(({ ms }) => ms).toSorted((a, b) => a - b);
}

function quantile(numbers, q) {
  return numbers[Math.min(numbers.length - 1, Math.floor(q * numbers.length))];
}
