import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeIfFound } from "../support/requirement.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { newFolder, until } from "../support/run-stowage.ts";
import { runTool } from "../tools/run-tool.ts";
import { freePort } from "./free-port.ts";
import { commandOf, environmentOf, layOutImage, readDockerfile, readImageStage } from "./dockerfile.ts";
import type { Instruction } from "./dockerfile.ts";
import { missingPrograms, projectFolder } from "./infra-tools.ts";
import { makeToken } from "./make-token.ts";

describeIfFound("infra/Dockerfile", missingPrograms("hadolint"), () => {
  it("passes hadolint", async () => {
    await runTool("hadolint", [join(projectFolder, "infra/Dockerfile")]);
  });
});

describe("infra/Dockerfile", () => {
  it("starts from images of a named release", async () => {
    const bases = (await readDockerfile()).filter(({ keyword }) => keyword === "FROM");
    for (const { text } of bases) expect(text).toMatch(/^node:\d+-\w+-slim( AS build)?$/);
  });

  it("copies nothing that .dockerignore holds back", async () => {
    const ignore = await readFile(join(projectFolder, ".dockerignore"), "utf8");
    const letIn = [...ignore.matchAll(/^!(.+)$/gm)].map(([, name = ""]) => name);
    const copied = (await readDockerfile())
      .filter(({ keyword, text }) => keyword === "COPY" && !text.startsWith("--from"))
      .flatMap(({ text }) => text.split(" ").slice(0, -1));
    expect(letIn.toSorted()).toEqual(copied.toSorted());
  });

  it("runs as a plain user, says how it is, and opens nothing by itself", async () => {
    const stage = await readImageStage();
    expect(Number(stage.find(({ keyword }) => keyword === "USER")?.text)).toBeGreaterThan(0);
    expect(commandOf(stage.find(({ keyword }) => keyword === "HEALTHCHECK"))).not.toEqual([]);
    expect(stage.map(({ text }) => text).join("\n")).not.toMatch(/ALLOW_ANYONE|TOKENS|SECRET|ACCESS_KEY/);
  });
});

const missing = [
  ...missingPrograms("unshare", "setpriv", "chroot", "npm"),
  ...(process.getuid?.() === 0 ? [] : ["a container can be set up by root alone"]),
];

describeIfFound("what infra/Dockerfile makes, as user 1000 on a read-only root", missing, () => {
  const uid = 1000;
  const { secret, tokens } = makeToken(["pull", "load"]);
  const children = new Set<ChildProcess>();
  let image = "";
  let stage: Instruction[] = [];
  beforeAll(async () => {
    image = await newFolder();
    await layOutImage(image, uid);
    stage = await readImageStage();
  });
  afterAll(() => {
    for (const child of children) child.kill("SIGKILL"); // only those of a test that failed are still there
  });
  const find = (keyword: string): Instruction | undefined =>
    stage.find((instruction) => instruction.keyword === keyword);

  it("does not start where others can reach it, without tokens", async () => {
    const { outcome } = run(commandOf(find("CMD")), {});
    expect(await outcome).toMatchObject({ code: 2, output: expect.stringContaining("STOWAGE_TOKENS") });
  });

  it("loads, answers, is healthy and stops", async () => {
    expect(find("USER")?.text).toBe(String(uid));
    const port = String(await freePort());
    // HOST is the image's in the test above; here it is loopback, for the sake of the machine that tests.
    const env = { STOWAGE_TOKENS: tokens, HOST: "127.0.0.1", PORT: port };
    const service = run(commandOf(find("CMD")), env);
    await until(() => (service.output().includes("listens on") ? true : undefined));

    const body = await tarOf(makeLayout({ name: "docker.io/team/app:1.4" }));
    const load = await fetch(`http://127.0.0.1:${port}/v1/load`, {
      method: "PUT",
      body,
      headers: { Authorization: `Bearer ${secret}` },
    });
    expect(load.status).toBe(201);
    expect((await fetch(`http://127.0.0.1:${port}/v2/`)).status).toBe(401);
    expect(await readdir(join(image, "data"))).toContain("oci-layout");
    expect(await run(commandOf(find("HEALTHCHECK")), env).outcome).toMatchObject({ code: 0 });
    const status = await readFile(`/proc/${service.pid}/status`, "utf8");
    expect(status).toMatch(/^Uid:\t1000\t1000\t1000\t1000$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);

    service.stop();
    expect(await service.outcome).toMatchObject({ code: 0 });
    expect(await run(commandOf(find("HEALTHCHECK")), env).outcome).toMatchObject({ code: 1 });
  });

  it("can write nowhere but in /data", async () => {
    const script = `const { writeFileSync } = require("node:fs");
      for (const folder of ["/app", "/", "/data"]) try { writeFileSync(folder + "/probe", ""); console.log(folder) } catch {}`;
    expect(await run(["node", "-e", script], {}).outcome).toEqual({ code: 0, output: "/data\n" });
  });

  function run(command: readonly string[], env: Readonly<Record<string, string>>) {
    const script = fileURLToPath(new URL("as-container.sh", import.meta.url));
    const child = spawn(script, [image, String(uid), ...command], {
      env: { PATH: "/bin:/usr/bin:/usr/sbin", ...environmentOf(stage), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.add(child);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    }
    return {
      pid: child.pid ?? 0,
      output: () => output,
      stop: () => void child.kill("SIGTERM"),
      outcome: once(child, "close").then(() => ({ code: child.exitCode, output })),
    };
  }
});
