// Compares two builds of Stowage by loads of one large layer: into a directory, and into an S3 server. See README.md.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { makeTarball } from "./make-tarball.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print, startService, upload } from "./measuring.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    large: { type: "string", default: "512" },
    rounds: { type: "string", default: "5" },
    stores: { type: "string", default: "directory,sink" },
    delay: { type: "string", default: "0" },
    "mib-per-second": { type: "string" },
  },
});
const builds = positionals.map((path) => resolve(path, "dist/cli/stowage.js"));
if (builds.length !== 2) throw new Error("expected two folders, each with a `dist` in it");

const here = new URL(".", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const tarball = join(folder, "image.tar");
const speed = values["mib-per-second"] === undefined ? [] : ["--mib-per-second", values["mib-per-second"]];
const sinkOptions = ["--delay", values.delay, ...speed];
const sink = spawn(process.execPath, [join(here, "sink.mjs"), ...sinkOptions], {
  stdio: ["ignore", "pipe", "inherit"],
});
try {
  const [port] = await once(sink.stdout, "data");
  const endpoint = `http://127.0.0.1:${String(port).trim()}`;
  await makeTarball(tarball, { largeMiB: Number(values.large), smallLayers: 0 });
  print(
    `node ${process.version}; one layer of ${values.large} MiB, ${values.rounds} rounds, medians and ratios by pairs`,
  );
  for (const kind of values.stores.split(",")) await compare(kind, endpoint);
} finally {
  sink.kill();
  rmSync(folder, { recursive: true });
}

async function compare(kind, endpoint) {
  const results = [[], []];
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const which of round % 2 === 0 ? [0, 1] : [1, 0]) results[which].push(await measure(kind, which, endpoint));
  }
  for (const which of [0, 1]) {
    const of = (key) => median(results[which].map((result) => result[key])).toFixed(2);
    print(
      `${kind.padEnd(10)} build ${which + 1}  CPU ${of("cpuSeconds")} s  ${of("seconds")} s  peak ${of("peakMiB")} MiB`,
    );
  }
  const ratio = (key) => median(results[1].map((result, i) => result[key] / results[0][i][key])).toFixed(3);
  print(`${kind.padEnd(10)} build 2 / build 1: ${ratio("cpuSeconds")} in CPU, ${ratio("seconds")} in time`);
}

/** One load by a fresh process, which has loaded the same tarball once before. */
async function measure(kind, which, endpoint) {
  const directory = mkdtempSync(join(folder, "store-"));
  const store = kind === "directory" ? `file:${directory}` : "s3://bench/images";
  const service = startService([builds[which], "serve", "--store", store, "--port", "0"], endpoint);
  try {
    const url = await listening(service);
    await upload(tarball, `${url}/v1/load/bench:1`);
    rmSync(join(directory, "blobs"), { recursive: true, force: true });
    const before = cpuSecondsOf(service.pid);
    const started = performance.now();
    await upload(tarball, `${url}/v1/load/bench:1`);
    const seconds = (performance.now() - started) / 1000;
    return { seconds, cpuSeconds: cpuSecondsOf(service.pid) - before, peakMiB: peakMiBOf(service.pid) };
  } finally {
    service.kill("SIGKILL");
    await once(service, "exit");
    rmSync(directory, { recursive: true });
  }
}
