// The stores of the bench: an S3 server that keeps nothing, VersityGW, both near and far away, and a directory.
//
// Each has: `endpoint` and `env` of a bucket; `urlOf(prefix)`; `requests()`, how many it got so far; `remove(prefix)`; `keeps`.
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { bucket, environmentOf, startGateway, startPrinting } from "./programs.mjs";

const here = new URL(".", import.meta.url).pathname;

export const stores = {
  sink: { short: "sink", title: "S3 server that keeps nothing", open: () => openSink([]) },
  sink30: {
    short: "sink, 30 ms and 80 MB/s",
    title: "S3 server that keeps nothing, answers after 30 ms and takes 80 MB/s on each connection",
    open: () => openSink(["--delay", "30", "--mb-per-second", "80"]),
  },
  versitygw: { short: "VersityGW", title: "VersityGW", keeps: true, open: (folder) => openGateway(folder, 0) },
  versitygw25: {
    short: "VersityGW, 25 ms",
    title: "VersityGW behind 25 ms",
    keeps: true,
    open: (folder) => openGateway(folder, 25),
  },
  directory: { short: "directory", title: "A directory", keeps: true, isDirectory: true, open: openDirectory },
};

export async function openSink(options) {
  const { line: port, child } = await startPrinting([process.execPath, join(here, "sink.mjs"), ...options]);
  const endpoint = `http://127.0.0.1:${port}`;
  return {
    child,
    endpoint,
    env: environmentOf(endpoint),
    urlOf: (prefix) => `s3://${bucket}/${prefix}`,
    requests: async () => Number(await (await fetch(`${endpoint}/requests`)).text()),
    remove: () => undefined,
  };
}

/** A gateway of its own for each distance: then its log of requests is of this store alone. */
async function openGateway(folder, roundTripMs) {
  const log = join(folder, `requests-${roundTripMs}.log`);
  const gateway = await startGateway(join(folder, `gateway-${roundTripMs}`), ["--access-log", log]);
  let { endpoint } = gateway;
  if (roundTripMs > 0) {
    const target = [new URL(endpoint).port, String(roundTripMs)];
    const { line: port } = await startPrinting([process.execPath, join(here, "delay-proxy.mjs"), ...target]);
    endpoint = `http://127.0.0.1:${port}`;
  }
  return {
    endpoint,
    env: environmentOf(endpoint),
    urlOf: (prefix) => `s3://${bucket}/${prefix}`,
    requests: async () => (existsSync(log) ? readFileSync(log, "utf8").split("\n").length - 1 : 0),
    remove: (prefix) => gateway.removePrefix(prefix),
  };
}

function openDirectory(folder) {
  const pathOf = (prefix) => join(folder, "directory", prefix);
  mkdirSync(join(folder, "directory"));
  return {
    env: {},
    urlOf: (prefix) => `file:${pathOf(prefix)}`,
    requests: async () => undefined,
    remove: (prefix) => rmSync(pathOf(prefix), { recursive: true, force: true }),
  };
}
