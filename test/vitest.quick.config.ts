/**
 * What `npm test` runs: all that needs nothing but Node and takes seconds. `npm run test:all` runs the files below as well:
 * they start other runtimes, servers, engines and clients, measure memory, or search for minutes.
 */
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { SkippedReporter } from "./support/skipped-reporter.ts";
import all from "./vitest.config.ts";

/** Folders, with a slash at their end, and files. */
const slow = [
  "bench.test.ts",
  "cli/copy-kills.test.ts",
  "cli/send-archive.test.ts",
  "clients/",
  "commit/commit-simulation.test.ts",
  "commit/commit-speed.test.ts",
  "commit/real-stores.test.ts",
  "conformance/",
  "faults/",
  "gc/simulation.test.ts",
  "http/fair-shares.test.ts",
  "infra/",
  "load/archive-properties.test.ts",
  "openapi/schemathesis.test.ts",
  "page/browser.test.ts",
  "runtimes/export-memory.test.ts",
  "runtimes/index-memory.test.ts",
  "runtimes/memory.test.ts",
  "runtimes/runtimes.test.ts",
  "runtimes/slow-readers.test.ts",
  "servers/",
  "storage/s3-store.test.ts",
  "workerd/",
];

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" });
const leftOut = files.filter((path) => path.endsWith(".test.ts") && slow.some((start) => path.startsWith(start)));

export default defineConfig({
  test: {
    ...all.test,
    maxWorkers: Math.max(2, availableParallelism() - 1), // Vitest takes one on two cores
    exclude: leftOut.map((path) => `test/${path}`),
    reporters: ["default", new SkippedReporter({ leftOut: leftOut.length })],
  },
});
