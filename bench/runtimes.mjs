// Loads one tarball on each runtime in turn and compares them with Node 20. See README.md.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeTarball } from "./make-tarball.mjs";
import { cpuSecondsOf, listening, median, peakMiBOf, print, upload } from "./measuring.mjs";

const { values } = parseArgs({
  options: {
    large: { type: "string", default: "192" },
    small: { type: "string", default: "320" },
    rounds: { type: "string", default: "5" },
    only: { type: "string" },
  },
});

const root = new URL("..", import.meta.url).pathname;
const tools = join(process.env.STOWAGE_TEST_TOOLS ?? join(homedir(), ".cache/stowage-test-tools"), "bin");
const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const tarball = join(folder, "image.tar");

const serve = [join(root, "dist/cli/stowage.js"), "serve"];
const permissions = ["--allow-net", "--allow-env", "--allow-sys", "--allow-read", "--allow-write"];
const wrangler = ["dev", "--ip", "127.0.0.1", "--port", "0", "--inspector-port", "0", "--persist-to", folder];
const runtimes = {
  "node 20": ["node20", ...serve],
  "node 22": ["node22", ...serve],
  "node 24": ["node24", ...serve],
  deno: ["deno", "run", ...permissions, join(root, "src/runtimes/deno.ts")],
  bun: ["bun", join(root, "src/runtimes/bun.ts")],
  workerd: ["node24", join(root, "node_modules/wrangler/bin/wrangler.js"), ...wrangler],
};
const names = Object.keys(runtimes).filter((name) => {
  if (values.only !== undefined && !values.only.split(",").includes(name)) return false;
  const isThere = existsSync(join(tools, runtimes[name][0]));
  if (!isThere) print(`left out: ${name}, there is no ${join(tools, runtimes[name][0])}`);
  return isThere;
});

const sink = spawn(process.execPath, [join(root, "bench/sink.mjs")], { stdio: ["ignore", "pipe", "inherit"] });
try {
  const [port] = await once(sink.stdout, "data");
  await makeTarball(tarball, { largeMiB: Number(values.large), smallLayers: Number(values.small) });
  const mebibytes = statSync(tarball).size / 2 ** 20;
  print(`${mebibytes.toFixed(0)} MiB in one layer of ${values.large} MiB and ${values.small} of 1 MiB`);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      results[name].push(await measure(runtimes[name], settingsFor(String(port).trim())));
    }
  }
  print("            MiB/s   CPU s   peak MiB   speed, node 20 = 1");
  for (const name of names) {
    const of = (key) => median(results[name].map((result) => result[key]));
    const ratios = results["node 20"]?.map(({ seconds }, i) => seconds / results[name][i].seconds);
    const cells = [(mebibytes / of("seconds")).toFixed(0), of("cpuSeconds").toFixed(2), of("peakMiB").toFixed(0)];
    print(
      `${name.padEnd(9)} ${cells[0].padStart(7)} ${cells[1].padStart(7)} ${cells[2].padStart(10)}` +
        `   ${ratios === undefined ? "" : median(ratios).toFixed(2)}`,
    );
  }
} finally {
  sink.kill();
  rmSync(folder, { recursive: true });
}

function settingsFor(port) {
  return {
    HOST: "127.0.0.1",
    PORT: "0",
    STOWAGE_STORE: "s3://bench/images",
    STOWAGE_ALLOW_ANYONE: "true",
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "bench",
    AWS_SECRET_ACCESS_KEY: "bench",
  };
}

/** A fresh process, warmed up by one load: none is measured while its code is still being compiled. */
async function measure([tool, ...args], settings) {
  const isWorker = args.includes("dev");
  const variables = Object.entries(settings).flatMap(([name, value]) => ["--var", `${name}:${value}`]);
  const service = spawn(join(tools, tool), isWorker ? [...args, ...variables] : args, {
    cwd: root,
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, ...settings, CI: "true", WRANGLER_SEND_METRICS: "false" },
  });
  try {
    const url = await listening(service);
    await upload(tarball, `${url}/v1/load/bench:1`);
    const before = processesOf(service.pid).reduce((sum, pid) => sum + cpuSecondsOf(pid), 0);
    const started = performance.now();
    await upload(tarball, `${url}/v1/load/bench:1`);
    const seconds = (performance.now() - started) / 1000;
    const processes = processesOf(service.pid);
    const cpuSeconds = processes.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0) - before;
    // Of a Worker's processes only workerd is the service: the largest.
    return { seconds, cpuSeconds, peakMiB: Math.max(...processes.map(peakMiBOf)) };
  } finally {
    service.kill("SIGTERM");
    await once(service, "exit");
  }
}

/** A process and all that it has started. */
function processesOf(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  return [pid, ...children.flatMap(processesOf)];
}
