/**
 * A running service against its own description: schemathesis sends requests that fit `/openapi.json` and requests that do not,
 * and compares each answer with it. No answer is a 5xx.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import type { Token } from "../../src/auth/access.ts";
import { sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";

const secret = "the tester's own";
const authorization = `Basic ${Buffer.from(`anybody:${secret}`).toString("base64")}`;
const token: Token = {
  name: "tester",
  sha256: sha256(Buffer.from(secret)).slice("sha256:".length),
  actions: ["pull", "load", "copy", "delete", "metrics"],
  repositories: ["**"],
};
const testTimeoutMs = 240_000; // schemathesis itself may take three minutes

/** No schema tells a tarball from other bytes, or a condition that holds from one that does not. */
const unfair = ["positive_data_acceptance"];
/** A session leaves nothing in the store until bytes come, so it outlives its end. */
const unfit = ["use_after_free"];

/** A wrong body can be answered by any of these. */
const anyRequest = `
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "408", "409", "412", "413", "414", "415", "416", "429"]
`;

/** Names an image that is there, so that the answers are not all 404. */
function goodRequests(digest: string): string {
  return `
[parameters]
"path.name" = "team/app"
"path.image" = "team/app:1.4"
"path.reference" = "1.4"
"path.digest" = "${digest}"
"query.image" = ["team/app:1.4"]
"query.platform" = ["linux/amd64"]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "416"]
`;
}

async function schemathesis(url: string, config: string, args: readonly string[]): Promise<string> {
  const folder = await newFolder();
  const configFile = join(folder, "schemathesis.toml");
  await writeFile(configFile, config);
  const target = ["--config-file", configFile, "run", `${url}/openapi.json`];
  const output = [
    "--no-color",
    "--warnings",
    "off",
    "--max-failures",
    "5",
    "--header",
    `Authorization: ${authorization}`,
  ];
  // Its health checks measure times.
  const fixed = ["--generation-deterministic", "--suppress-health-check", "all", "--request-timeout", "60"];
  return runTool("schemathesis", [...target, ...output, ...fixed, ...args], { cwd: folder });
}

describeIfFound("/openapi.json", missingTools(["openapi-spec-validator", "schemathesis"]), () => {
  let url: string;
  beforeAll(async () => {
    const store = `file:${await newFolder()}`;
    const running = await serveStowage(["--store", store], { STOWAGE_TOKENS: JSON.stringify([token]) });
    url = running.url;
  });

  it("is valid OpenAPI 3.1", async () => {
    const file = join(await newFolder(), "openapi.json");
    await writeFile(file, await (await fetch(`${url}/openapi.json`)).text());
    expect(await runTool("openapi-spec-validator", [file])).toContain("OK");
  });

  it(
    "has the answers to requests for an image that is there",
    async () => {
      const layout = makeLayout({ name: "team/app:1.4" });
      const loaded = await fetch(`${url}/v1/load`, {
        method: "PUT",
        headers: { Authorization: authorization },
        body: new Uint8Array(await tarOf(layout)),
      });
      expect(loaded.status).toBe(201);
      const reads = ["--include-method", "GET", "--include-method", "HEAD", "--mode", "positive"];
      const withoutIds = ["/v1/uploads/{id}", "/v2/{name}/blobs/uploads/{session}"].flatMap((path) => [
        "--exclude-path",
        path,
      ]);
      const phases = ["--phases", "coverage,fuzzing", "--max-examples", "5"];
      const output = await schemathesis(url, goodRequests(layout.digest), [...reads, ...withoutIds, ...phases]);
      expect(output).toMatch(/Tested: [1-9]/);
    },
    testTimeoutMs,
  );

  it.each([
    { phase: "coverage", maxExamples: "5" },
    { phase: "fuzzing", maxExamples: "4" },
    { phase: "stateful", maxExamples: "10" },
  ])(
    "has the answers to any request: $phase",
    async ({ phase, maxExamples }) => {
      const checks = ["--exclude-checks", [...unfair, ...unfit].join(",")];
      const amount = ["--phases", phase, "--max-examples", maxExamples];
      const output = await schemathesis(url, anyRequest, [...checks, ...amount]);
      expect(output).toMatch(/generated, [1-9]\d* passed/);
    },
    testTimeoutMs,
  );
});
