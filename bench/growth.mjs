// How time and memory grow: with the size of a tarball, the number of blobs, of loads at once and of tags. See README.md.
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { makeContenders } from "./contenders.mjs";
import { measureBlobs, measureCrowd, measureSize } from "./growth/loads.mjs";
import { measureTags } from "./growth/tags.mjs";
import { print } from "./measuring.mjs";
import { openSink } from "./stores.mjs";
import { endAll } from "./programs.mjs";
import { growthKinds, growthTable } from "./growth-summary.mjs";
import { describeMachine } from "./machine.mjs";
import { keepGrowth, makePage } from "./page.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: Object.keys(growthKinds).join(",") },
    max: { type: "boolean", default: false }, // to 16 GiB, 100,000 blobs, 256 loads, 100,000 tags
    points: { type: "string" }, // such as 1,2,3: instead of the kind's own
    store: { type: "string" }, // of the tags: s3://bucket/prefix instead of a directory
    rounds: { type: "string", default: "7" }, // of the tags
    crowd: { type: "string", default: "20" }, // of the tags
    contender: { type: "string", default: "stowage" }, // which runtime takes the loads
    write: { type: "string" }, // keeps the results in this folder, such as docs, and makes the page there of them
  },
});

const folder = mkdtempSync(join(tmpdir(), "stowage-bench-"));
const contender = makeContenders([])[values.contender];
let services = 0;

const measures = {
  size: (gibibytes) => measureSize(gibibytes, () => open([])),
  blobs: (blobs) => measureBlobs(blobs, () => open(["--keep", "65536"])),
  loads: (loads) => measureCrowd(loads, () => open(["--delay", "30", "--mb-per-second", "80"])),
  tags: (tags) =>
    measureTags(tags, { folder, storeUrl: values.store, rounds: Number(values.rounds), crowd: Number(values.crowd) }),
};

try {
  print(`Load of the machine ${loadavg()[0].toFixed(1)}\n`);
  for (const kind of values.only.split(",")) {
    if (!(kind in growthKinds))
      throw new Error(`found --only ${kind}, expected of: ${Object.keys(growthKinds).join(", ")}`);
    const { points, maxPoints } = growthKinds[kind];
    const results = [];
    for (const x of values.points?.split(",").map(Number) ?? (values.max ? [...points, ...maxPoints] : points)) {
      const result = { x, ...(await measures[kind](x)) };
      results.push(result);
      print(JSON.stringify({ kind, ...result }));
    }
    print(`\n${growthTable(kind, results)}\n`);
    if (values.write !== undefined) keepGrowth(values.write, kind, results, describeMachine());
  }
  if (values.write !== undefined) await makePage(values.write);
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** A service that has just started, and a sink of its own. */
async function open(options) {
  const { child, ...sink } = await openSink(options);
  const store = { ...sink, folder };
  const limits = { STOWAGE_MAX_LOADS: "128", STOWAGE_MAX_ENTRIES: "200000" };
  const service = await contender.start(store, `growth-${services++}`, limits);
  return { store, service, stop: () => child.kill("SIGKILL") };
}
