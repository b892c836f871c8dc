// What the benchmarks have in common: a service's process, an upload into it, and figures.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";

/** The URL that a service says it listens on. Reads on after that, so that a service that says more is not held up. */
export async function listening(service) {
  let output = "";
  service.stdout.on("data", (text) => (output += text));
  while (service.exitCode === null) {
    const [, url] = /(?:listens on|Ready on) (http:\/\/127\.0\.0\.1:\d+)/.exec(output) ?? [];
    if (url !== undefined) return url;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`the service ended: ${output}`);
}

export async function upload(tarball, url) {
  const options = ["-sS", "--fail-with-body", "--noproxy", "*", "-o", "/dev/null"];
  const curl = spawn("curl", [...options, "-T", tarball, url], { stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(curl, "exit");
  if (code !== 0) throw new Error(`curl exited with ${code}`);
}

/** User and system time of a process (proc(5), fields 14 and 15), in seconds. */
export function cpuSecondsOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function peakMiBOf(pid) {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
}

/** CPU seconds, and the peak of the largest, of a process and all that it has started. Of a Worker's, workerd is the largest. */
export function figuresOf(pid) {
  const pids = processesOf(pid);
  return {
    cpuSeconds: pids.reduce((sum, each) => sum + cpuSecondsOf(each), 0),
    peakMiB: Math.max(...pids.map(peakMiBOf)),
  };
}

function processesOf(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  return [pid, ...children.flatMap(processesOf)];
}

export function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)] + sorted[Math.ceil((sorted.length - 1) / 2)]) / 2;
}

export function print(line) {
  process.stdout.write(`${line}\n`);
}
