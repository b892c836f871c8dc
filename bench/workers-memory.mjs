// Loads a tarball of 90 MB into the Worker, run by workerd as on Cloudflare, and watches its memory: see README.md.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Inspector } from "./inspector.mjs";
import { makeTarball, oneImage } from "./make-tarball.mjs";
import { print, upload } from "./measuring.mjs";

const { values } = parseArgs({
  options: {
    large: { type: "string", default: "80" },
    small: { type: "string", default: "5" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    collect: { type: "boolean", default: false }, // collects garbage before each look: what is left is in use
  },
});

/** An isolate's limit on Workers. */
const limitMB = 128;
const sampleMs = 20;

if (values.collect) process.env.MINIFLARE_WORKERD_V8_FLAGS = "--expose-gc";

const root = new URL("..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const tarball = join(folder, "image.tar");
const { Miniflare, convertV4MiniflareOptions } = createRequire(createRequire(import.meta.url).resolve("wrangler"))(
  "miniflare",
);
const sink = spawn(process.execPath, [join(root, "bench/sink.mjs")], { stdio: ["ignore", "pipe", "inherit"] });

try {
  const [port] = await once(sink.stdout, "data");
  const s3 = {
    STOWAGE_STORE: "s3://bench/images",
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${String(port).trim()}`,
    AWS_ACCESS_KEY_ID: "bench",
    AWS_SECRET_ACCESS_KEY: "bench",
  };
  const stores = { r2: { STOWAGE_STORE: "r2:IMAGES/bench" }, s3 };
  await makeTarball(tarball, oneImage({ largeMiB: Number(values.large), smallLayers: Number(values.small) }));
  const script = bundle();
  print(
    `${(statSync(tarball).size / 1e6).toFixed(1)} MB in one layer of ${values.large} MiB and ${values.small} of 1 MiB`,
  );
  for (const [name, bindings] of Object.entries(stores)) {
    if (values.only !== undefined && values.only !== name) continue;
    for (let round = 1; round <= Number(values.rounds); round++) await measure(name, { script, bindings });
  }
} finally {
  sink.kill();
  rmSync(folder, { recursive: true });
}

/** The Worker as it is deployed. */
function bundle() {
  const wrangler = join(root, "node_modules/wrangler/bin/wrangler.js");
  execFileSync(process.execPath, [wrangler, "deploy", "--dry-run", "--outdir", join(folder, "worker")], {
    cwd: root,
    env: { ...process.env, WRANGLER_SEND_METRICS: "false" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(folder, "worker/workers.js");
}

/** Two loads into a fresh workerd: the first into an empty store, by a Worker that has just started. */
async function measure(name, { script, bindings }) {
  const before = new Set(childrenOf(process.pid));
  const worker = new Miniflare(
    convertV4MiniflareOptions({
      name: "stowage",
      modules: true,
      scriptPath: script,
      modulesRoot: folder,
      compatibilityDate: "2026-10-01",
      compatibilityFlags: ["nodejs_compat"],
      r2Buckets: ["IMAGES"],
      bindings: { ...bindings, STOWAGE_ALLOW_ANYONE: "true" },
      host: "127.0.0.1",
      port: 0,
      inspectorPort: 0,
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
    }),
  );
  try {
    await worker.ready;
    const url = await worker.unsafeGetDirectURL();
    const [pid] = childrenOf(process.pid).filter((child) => !before.has(child));
    const inspector = await Inspector.open(new URL("/core:user:stowage", await worker.getInspectorURL()));
    const idle = await memoryOf(pid, inspector);
    for (const load of ["first", "again"]) {
      const peak = { heap: 0, buffers: 0, isolate: 0, rss: 0 };
      const started = performance.now();
      let done = false;
      const loading = upload(tarball, new URL(`/v1/load/bench/${load}:1`, url).href).finally(() => (done = true));
      while (!done) {
        const now = await memoryOf(pid, inspector);
        for (const key of Object.keys(peak)) peak[key] = Math.max(peak[key], now[key]);
        await sleep(sampleMs);
      }
      await loading;
      const seconds = (performance.now() - started) / 1000;
      print(
        `${name} ${load}  ${seconds.toFixed(2)} s  isolate ${mb(peak.isolate)} MB at most ` +
          `(heap ${mb(peak.heap)}, buffers ${mb(peak.buffers)}), workerd ${mb(peak.rss)} MB, ${mb(idle.rss)} when idle` +
          `${peak.isolate > limitMB * 1e6 ? `  OVER ${limitMB} MB` : ""}`,
      );
    }
    inspector.close();
  } finally {
    await worker.dispose();
  }
}

/** What V8 says of the isolate, and what the whole process has in memory. */
async function memoryOf(pid, inspector) {
  if (values.collect) await inspector.collectGarbage();
  const { heap, buffers } = await inspector.heapUsage();
  return { heap, buffers, isolate: heap + buffers, rss: rssOf(pid) };
}

function rssOf(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
}

function childrenOf(parent) {
  return readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/stat`, "utf8").split(") ")[1].split(" ")[1] === String(parent);
    } catch {
      return false; // it has just ended
    }
  });
}

function mb(bytes) {
  return (bytes / 1e6).toFixed(0);
}
