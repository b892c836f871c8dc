// Loads one tarball into Stowage and into the straightforward build, in turn, and compares them. See README.md.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTarball } from "./make-tarball.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print, startService, upload } from "./measuring.mjs";

const { values } = parseArgs({
  options: {
    large: { type: "string", default: "700" },
    small: { type: "string", default: "324" },
    rounds: { type: "string", default: "5" },
    only: { type: "string" },
  },
});

const here = new URL(".", import.meta.url).pathname;
const services = {
  stowage: [join(here, "../dist/cli/stowage.js"), "serve", "--store", "s3://bench/images", "--port", "0"],
  straightforward: [join(here, "straightforward.mjs")],
};
const names = Object.keys(services).filter((name) => values.only === undefined || name === values.only);

const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const tarball = join(folder, "image.tar");
const sink = spawn(process.execPath, [join(here, "sink.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
try {
  const [port] = await once(sink.stdout, "data");
  await makeTarball(tarball, { largeMiB: Number(values.large), smallLayers: Number(values.small) });
  print(
    `node ${process.version}, ${cpus().length} cores; ${statSync(tarball).size / 2 ** 20} MiB in one layer of ${values.large} MiB and ${values.small} of 1 MiB`,
  );
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const result = await measure(name, `http://127.0.0.1:${String(port).trim()}`);
      print(`round ${round}  ${describe(name, result)}`);
      results[name].push(result);
    }
  }
  for (const name of names) print(`median   ${describe(name, medians(results[name]))}`);
  const { stowage, straightforward } = results;
  if (stowage !== undefined && straightforward !== undefined) {
    const ratio = (key) => median(stowage.map((result, i) => straightforward[i][key] / result[key])).toFixed(2);
    print(`straightforward / stowage, median of pairs: ${ratio("seconds")} in time, ${ratio("cpuSeconds")} in CPU`);
  }
} finally {
  sink.kill();
  rmSync(folder, { recursive: true });
}

async function measure(name, endpoint) {
  const service = startService(services[name], endpoint);
  try {
    const url = await listening(service);
    await upload(tarball, `${url}/v1/load/bench:1`); // a service is not measured while its code is still being compiled
    const before = cpuSecondsOf(service.pid);
    const started = performance.now();
    await upload(tarball, `${url}/v1/load/bench:1`);
    const seconds = (performance.now() - started) / 1000;
    return { seconds, cpuSeconds: cpuSecondsOf(service.pid) - before, peakMiB: peakMiBOf(service.pid) };
  } finally {
    service.kill("SIGKILL");
    await once(service, "exit");
  }
}

function medians(results) {
  const of = (key) => median(results.map((result) => result[key]));
  return { seconds: of("seconds"), cpuSeconds: of("cpuSeconds"), peakMiB: of("peakMiB") };
}

function describe(name, { seconds, cpuSeconds, peakMiB }) {
  return `${name.padEnd(16)} ${seconds.toFixed(2)} s  CPU ${cpuSeconds.toFixed(2)} s  peak ${peakMiB.toFixed(0)} MiB`;
}
