/** What `curl -T` shows of a request that is refused while it still sends: the error, on every runtime, not a broken pipe. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { randomBytes } from "../support/bytes.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import type { Service } from "../tools/start-service.ts";
import { runtimes, startRuntime } from "./start-runtime.ts";

/** More than what the sockets of both sides hold. */
const bodyBytes = 40_000_000;
const settings = { STOWAGE_STORE: "memory:", STOWAGE_MAX_BODY_BYTES: "30000000", STOWAGE_ALLOW_ANYONE: "true" };
/**
 * Those whose server reads a request as it comes. Workers do too, but the proxy of `wrangler dev` in front of them answers
 * now and then itself that the connection is lost.
 */
const names = ["node 20", "node 24", "deno", "bun"];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-refused-"));
  await writeFile(join(folder, "body"), randomBytes(bodyBytes));
});
afterAll(async () => rm(folder, { recursive: true }));

for (const runtime of runtimes.filter(({ name }) => names.includes(name))) {
  const missing = missingTools([runtime.tool, "curl"]);
  describeIfFound(`curl -T, refused by the service on ${runtime.name}`, missing, () => {
    let service: Service;
    beforeAll(async () => {
      service = await startRuntime(runtime, settings);
    });
    afterAll(async () => service?.stop());

    /** What curl writes, and then the status; a failure of curl, not of who fills its pipe, is thrown. */
    const curl = async (line: string): Promise<string> =>
      runShell(`set +o pipefail; ${line} -w '%{http_code}'`, { cwd: folder, env: { S: service.answer } });

    it.each([
      ["of a file", "curl -sS -T body $S/v1/load/Team/App", "NAME_INVALID", 400],
      ["of a pipe", "cat body | curl -sS -T - $S/v1/load/Team/App", "NAME_INVALID", 400],
      [
        "of a pipe that does not ask first",
        "cat body | curl -sS -H Expect: -T - $S/v1/load/Team/App",
        "NAME_INVALID",
        400,
      ],
      ["of a file that is too long", "curl -sS -H Expect: -T body $S/v1/load", "LIMIT_EXCEEDED", 413],
      ["of what is no archive", "cat body | curl -sS -T - $S/v1/load", "ARCHIVE_INVALID", 400],
      ["with a method that there is not", "curl -sS -X PATCH -T body $S/v1/load", "UNSUPPORTED", 405],
    ])("shows the error %s", async (_, line, code, status) => {
      const shown = await curl(line);
      expect(shown).toMatch(new RegExp(`"code":"${code}".*\\n${status}$`));
    });

    it("answers HEAD without a body", async () => {
      const { status, headers } = await fetch(`${service.answer}/v1/load`, { method: "HEAD" });
      expect([status, headers.get("Allow")]).toEqual([405, "PUT, POST"]);
    });
  });
}
