/** The examples of `docs/library.md`: each is type-checked and run, against the package as installed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { findTool, missingTools, toolsPath } from "../tools/find-tool.ts";
import { runTool, toolEnvironment } from "../tools/run-tool.ts";
import { checkout, compile, installPackage } from "./install-package.ts";

const layout = makeLayout({ layers: [randomBytes(5000)], name: "team/app:1.4" });
const secret = "of-this-test";

/** By their names, which stand in the first line of each. */
const examples = new Map(
  [...(await readPage()).matchAll(/^```ts\n\/\/ ([\w-]+\.ts)\n(.*?)^```$/gms)].map(
    ([, name = "", code = ""]) => [name, code] as const,
  ),
);

let folder: string;
beforeAll(async () => {
  ({ folder } = await installPackage(["@types/node"]));
  await writeFile(join(folder, "app.tar"), await tarOf(layout));
  await installDocker();
  // Addresses that are nobody's become such as a test has.
  for (const [name, code] of examples) {
    const own = code.replaceAll("s3://my-bucket/images", "file:./data").replaceAll("port: 8080", "port: 0");
    await writeFile(join(folder, name), own);
  }
  await compile(folder, { files: ["load.ts", "mount.ts"], types: ["node"] });
});

async function readPage(): Promise<string> {
  return readFile(join(checkout, "docs/library.md"), "utf8");
}

/** A `docker` that saves the one image that there is. */
async function installDocker(): Promise<void> {
  await mkdir(join(folder, "bin"));
  await writeFile(join(folder, "bin/docker"), "#!/bin/sh\nexec cat app.tar\n", { mode: 0o755 });
}

const pathWithDocker = (): string => [join(folder, "bin"), toolsPath].join(delimiter);

/** Compiled, unless the extension is `ts`. */
async function runExamples(command: string, args: readonly string[] = [], extension = "js"): Promise<void> {
  await copyFile(new URL("run-examples.mjs", import.meta.url), join(folder, "run-examples.mjs"));
  const env = { PATH: pathWithDocker(), TEAM_PASSWORD: secret };
  const output = await runTool(command, [...args, "run-examples.mjs", extension], { cwd: folder, env });
  const [digest, answers = ""] = output.trim().split("\n");
  expect(digest).toBe(layout.digest);
  expect(JSON.parse(answers)).toEqual({
    refused: 401,
    loaded: expect.toSatisfy((status) => status === 201 || status === 200), // or another runtime has done it
    tags: ["1.4", "nightly"],
  });
}

describe("the examples of docs/library.md", () => {
  it("are all tried here", () => {
    expect([...examples.keys()].toSorted()).toEqual(["load.ts", "mount.ts", "serve.ts", "worker.ts"]);
  });

  it("load.ts and mount.ts run on Node, compiled", () => runExamples(process.execPath));
});

for (const node of ["node22", "node24"] as const) {
  describeIfFound(`the examples of docs/library.md on ${node}`, missingTools([node]), () => {
    it("load.ts and mount.ts run as they are written", () => runExamples(node, [], "ts"));
  });
}

describeIfFound("the examples of docs/library.md on Bun", missingTools(["bun"]), () => {
  it("load.ts and mount.ts run as they are written", () => runExamples("bun", [], "ts"));
});

describeIfFound("the examples of docs/library.md on Deno", missingTools(["deno"]), () => {
  it("load.ts and mount.ts run as they are written", () =>
    runExamples("deno", ["run", "--allow-all", "--quiet"], "ts"));

  it("serve.ts is typed, and serves", async () => {
    await runTool("deno", ["check", "--quiet", "serve.ts"], { cwd: folder });
    const child = spawn(findTool("deno") ?? "deno", ["run", "--allow-all", "serve.ts"], {
      cwd: folder,
      env: { ...toolEnvironment(), NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      const url = await urlIn(child.stdout, child.stderr);
      const body = await readFile(join(folder, "app.tar"));
      const loaded = await fetch(`${url}v1/load/served:1`, { method: "PUT", body });
      expect(loaded.status).toBe(201);
      expect((await fetch(`${url}v2/served/manifests/1`)).headers.get("Docker-Content-Digest")).toBe(layout.digest);
    } finally {
      const closed = once(child, "close");
      child.kill();
      await closed;
    }
  });
});

/** The URL that a server names once it listens. */
async function urlIn(...streams: readonly NodeJS.ReadableStream[]): Promise<string> {
  let text = "";
  return new Promise((resolve, reject) => {
    for (const stream of streams) {
      stream.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(text)?.[0];
        if (url !== undefined) resolve(url);
      });
      stream.on("end", () => reject(new Error(`expected a URL, found ${JSON.stringify(text)}`)));
    }
  });
}

describeIfFound("worker.ts of docs/library.md", missingTools(["node24"]), () => {
  beforeAll(async () => {
    const config = {
      name: "example",
      main: "worker.ts",
      compatibility_date: "2026-10-01",
      compatibility_flags: ["nodejs_compat"],
      r2_buckets: [{ binding: "IMAGES", bucket_name: "images" }],
      vars: { CI_TOKEN_SHA256: sha256(Buffer.from(secret)).slice("sha256:".length) },
    };
    await writeFile(join(folder, "wrangler.json"), JSON.stringify(config));
  });

  it("is typed, by Cloudflare's own types", async () => {
    await runOnNode24([join(checkout, "node_modules/wrangler/bin/wrangler.js"), "types"]);
    await compile(folder, {
      files: ["worker.ts", "worker-configuration.d.ts"],
      module: "esnext",
      lib: ["es2023"],
    });
  });

  it("answers its own page, asks for the token, loads into R2 and lets everybody pull", async () => {
    const runner = fileURLToPath(new URL("run-worker.mjs", import.meta.url));
    const output = await runOnNode24([runner, "wrangler.json", "app.tar", secret]);
    expect(JSON.parse(output.trim().split("\n").at(-1) ?? "")).toEqual({
      page: "hello",
      refused: 401,
      loaded: 201,
      pulled: 200,
      digest: layout.digest,
    });
  });
});

/** wrangler and workerd want a newer Node than Stowage does. */
async function runOnNode24(args: readonly string[]): Promise<string> {
  return runTool("node24", args, { cwd: folder, env: { WRANGLER_SEND_METRICS: "false" } });
}
