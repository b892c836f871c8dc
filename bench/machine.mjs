// Says on what a bench ran: the machine, the month, and the version of each program.
import { spawnSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import process from "node:process";
import { findTool } from "./programs.mjs";

const programs = [
  ["node24", "Node", "--version"],
  ["deno", "Deno", "--version"],
  ["bun", "Bun", "--version"],
  ["versitygw", "VersityGW", "--version"],
  ["registry", "distribution", "--version"],
  ["crane", "crane", "version"],
  ["regctl", "regctl", "version"],
  ["skopeo", "skopeo", "--version"],
  ["curl", "curl", "--version"],
  ["aws", "the AWS CLI", "--version"],
];

export function describeMachine() {
  const month = new Date().toLocaleDateString("en", { month: "long", year: "numeric" });
  const gigabytes = Math.round(totalmem() / 1e9);
  const versions = programs.flatMap(([tool, name, flag]) => {
    const path = findTool(tool);
    if (path === undefined) return [];
    const { stdout = "", stderr = "" } = spawnSync(path, [flag], { encoding: "utf8", timeout: 20_000 });
    const [version] = /\d+\.\d+(\.\d+)?/.exec(stdout + stderr) ?? [];
    return version === undefined ? [] : [`${name} ${version}`];
  });
  const machine = `${cpus().length} cores (${cpus()[0].model.trim()}), ${gigabytes} GB, Linux ${release().split("-")[0]}`;
  return `${machine}, ${month}, with Node ${process.versions.node}, ${versions.join(", ")}`;
}
