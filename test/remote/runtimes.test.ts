/** `fetch` is another one on each runtime. `test/workerd` has the same for Workers. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { buildStowage } from "../support/build.ts";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type Tool, missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import { type RoughRegistry, startRoughRegistry } from "./fake-registry.ts";

const script = fileURLToPath(new URL("read-blob.mjs", import.meta.url));
const blob = randomBytes(3 * 1024 * 1024);
const permissions = ["run", "--allow-net", "--allow-read", "--allow-env"];

const runtimes: readonly (readonly [Tool, ...string[]])[] = [
  ["node20"],
  ["node22"],
  ["node24"],
  ["node26"],
  ["deno", ...permissions],
  ["bun"],
];

let registry: RoughRegistry;
beforeAll(async () => {
  registry = await startRoughRegistry(blob);
});
afterAll(async () => registry.close());

for (const [runtime, ...args] of runtimes) {
  describeIfFound(`RegistrySource on ${runtime}`, missingTools([runtime]), () => {
    it("reads a blob behind a password and a redirect, cut short in the middle", { timeout: 60_000 }, async () => {
      const dist = dirname(dirname(await buildStowage()));
      const expected = sha256(blob);
      const wanted = [registry.url, expected, String(blob.length)];
      expect((await runTool(runtime, [...args, script, dist, ...wanted])).trim()).toBe(expected);
    });
  });
}
