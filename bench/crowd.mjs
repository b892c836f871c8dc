// Many loads, pushes and pulls at once, for minutes: what they are answered, how soon, and the service's memory. See README.md.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { cpuSecondsOf, listening, median, peakMiBOf, print } from "./measuring.mjs";
import { bucket, endAll, startGateway } from "./programs.mjs";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    clients: { type: "string", default: "64" }, // of each kind
    folder: { type: "string", default: tmpdir() },
  },
});
const [minutes, clients] = [Number(values.minutes), Number(values.clients)];
const program = new URL("../dist/cli/stowage.js", import.meta.url).pathname;
const folder = mkdtempSync(join(values.folder, "stowage-bench-"));

try {
  const { env } = await startGateway(join(folder, "gateway"));
  const store = `s3://${bucket}/crowd`;
  const service = spawn(process.execPath, [program, "serve", "--store", store, "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env, STOWAGE_ALLOW_ANYONE: "true", STOWAGE_LOG: "json" },
  });
  process.once("exit", () => service.kill("SIGKILL"));
  const url = await listening(service);
  print(`node ${process.version}: ${clients} loads, pushes and pulls each at once, ${minutes} minutes, VersityGW\n`);
  const ends = Date.now() + minutes * 60_000;
  const memory = [];
  const kinds = ["loads", "pushes", "pulls"].map((kind) => runClients(kind, { url, clients, ends }));
  while (Date.now() < ends) {
    await sleep(1000);
    memory.push(residentMiBOf(service.pid));
  }
  const results = await Promise.all(kinds);
  printAnswers(results);
  printMemory(memory, service.pid);

  const lost = await findLost(url, Object.assign({}, ...results.map(({ images }) => images)));
  const errors = results.flatMap((each) => each.errors);
  print(`\n${errors.length} answers that no document names, ${lost.length} acknowledged images that are not there`);
  for (const line of [...errors, ...lost].slice(0, 20)) print(`- ${line}`);
  service.kill("SIGTERM");
  const [code] = await once(service, "exit");
  print(`the service ended with ${code}`);
  const verify = spawn(process.execPath, [program, "verify", "--store", store], { env: { ...process.env, ...env } });
  let findings = "";
  for (const output of [verify.stdout, verify.stderr]) output.on("data", (text) => (findings += text));
  const [verdict] = await once(verify, "close");
  print(`\`stowage verify\` ended with ${verdict}: ${findings.trim().split("\n").at(-1)}`);
  process.exitCode = errors.length + lost.length + code + verdict > 0 ? 1 : 0;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}

/** The clients of one kind have a thread of their own, so that a pull's time is not that of a tarball that is being made. */
async function runClients(kind, data) {
  const worker = new Worker(new URL("crowd/clients.mjs", import.meta.url), { workerData: { kind, ...data } });
  const [result] = await once(worker, "message"); // rejects if the thread fails
  return { kind, ...result };
}

function printAnswers(results) {
  print("| request | answers | each second | ms, median | ms, p99 | ms, most | refused |");
  print("| --- | --: | --: | --: | --: | --: | --- |");
  for (const { times, refused } of results) {
    for (const [request, taken] of Object.entries(times)) {
      const sorted = taken.toSorted((a, b) => a - b);
      const figures = [median(sorted), sorted[Math.floor(sorted.length * 0.99)], sorted.at(-1)].map(Math.round);
      const codes = Object.entries(refused[request] ?? {}).map(([code, count]) => `${count} × ${code}`);
      const perSecond = (sorted.length / minutes / 60).toFixed(1);
      print(`| ${[request, sorted.length, perSecond, ...figures, codes.join(", ")].join(" | ")} |`);
    }
  }
}

function printMemory(memory, pid) {
  const minutesOf = Array.from({ length: Math.ceil(memory.length / 60) }, (_, i) => memory.slice(i * 60, i * 60 + 60));
  const each = minutesOf.map((samples) => Math.round(median(samples))).join(", ");
  print(`\nresident memory in MiB, median of each minute: ${each}; peak ${Math.round(peakMiBOf(pid))}`);
  print(`CPU of the service: ${Math.round(cpuSecondsOf(pid))} s`);
}

function residentMiBOf(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
}

/** The images whose tag does not have the digest that was acknowledged last. Each tag has one writer. */
async function findLost(url, images) {
  const lost = [];
  for (const [image, digest] of Object.entries(images)) {
    const [name, tag] = image.split(":");
    const found = await fetch(`${url}/v2/${name}/manifests/${tag}`, { method: "HEAD" });
    const seen = found.headers.get("Docker-Content-Digest");
    if (seen !== digest) lost.push(`${image} is ${seen ?? found.status}, was acknowledged as ${digest}`);
  }
  return lost;
}
