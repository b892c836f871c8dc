/** Deno on a machine that has nothing else: no Node is in the PATH of what is started here. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { Receipt } from "../../src/load/receipt.ts";
import { randomBytes } from "../support/bytes.ts";
import { checkPull } from "../support/check-pull.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";
import { startProgram } from "./start-program.ts";
import { type RuntimeUnderTest, denoServe } from "./start-runtime.ts";

const config = fileURLToPath(new URL("../../deno.json", import.meta.url));

/** The `deno` of npm is a script for Node, which runs the real one. */
async function realDeno(): Promise<string> {
  return (await runTool("deno", ["eval", "console.log(Deno.execPath())"])).trim();
}

/** Each is given a `deno` that is not in its PATH either. */
const commands: readonly RuntimeUnderTest[] = [
  { ...denoServe, name: "deno task start", command: ({ tool }) => [tool, "task", `--config=${config}`, "start"] },
  denoServe,
];

describeIfFound("Deno without Node", missingTools(["deno"]), () => {
  it.each(commands)("takes an image and gives it back by $name", { timeout: 60_000 }, async (runtime) => {
    const deno = await realDeno();
    const folder = await newFolder();
    const { child, url, ended, output } = await startProgram(
      { ...runtime, command: (place) => runtime.command({ ...place, tool: deno }) },
      { PATH: join(folder, "empty"), STOWAGE_STORE: `file:${join(folder, "data")}` },
    );
    const service = await url.catch((error: unknown) => {
      throw new Error(`Cannot start "${runtime.name}":\n${output()}`, { cause: error });
    });
    const layout = makeLayout({ layers: [randomBytes(9_000_000), randomBytes(100)], name: "docker.io/team/app:1.4" });
    const answer = await fetch(`${service}/v1/load`, { method: "PUT", body: new Uint8Array(await tarOf(layout)) });
    expect(answer.status, output()).toBe(201);
    const { images } = (await answer.json()) as Receipt;
    const [image] = images;
    if (image === undefined) throw new Error("expected an image in the receipt");
    await checkPull(image, async (repository, path) => {
      const pulled = await fetch(`${service}/v2/${repository}/${path}`);
      expect(pulled.status, path).toBe(200);
      return Buffer.from(await pulled.arrayBuffer());
    });
    child.kill("SIGTERM");
    expect(await ended, output()).toBe(0);
    expect(output().match(/Stowage listens/g), output()).toHaveLength(1);
  });
});
