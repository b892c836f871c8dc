/** The service as a process of Node, Deno and Bun: how it starts, how it stops, and what it says. */
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { updateRepository } from "../../src/layout/update-repository.ts";
import { loadArchive } from "../../src/load/load-archive.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { missingPrograms } from "../infra/infra-tools.ts";
import { chunksOf, randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { listFiles, newFolder, until } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { startProgram } from "./start-program.ts";
import { type RuntimeUnderTest, denoServe, runtimes } from "./start-runtime.ts";

const devScript = fileURLToPath(new URL("../../scripts/dev.mjs", import.meta.url));

/** Sends a load but for its last bytes; `finish` sends those and resolves with the answer's first line. */
async function beginLoad(
  url: string,
  tarball: Buffer,
): Promise<{ finish(): Promise<string>; answer: Promise<string> }> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const answer = once(socket, "data").then(([bytes]) => String(bytes).split("\r\n")[0] ?? "");
  const headers = `Host: ${hostname}\r\nContent-Length: ${tarball.length}\r\nConnection: close`;
  socket.write(`PUT /v1/load/late:1 HTTP/1.1\r\n${headers}\r\n\r\n`);
  await new Promise((resolve) => socket.write(tarball.subarray(0, -512), resolve));
  return {
    answer,
    finish: async () => {
      socket.write(tarball.subarray(-512));
      return answer;
    },
  };
}

const programs = runtimes.filter(({ tool }) => ["node20", "deno", "bun"].includes(tool));

for (const runtime of [...programs, denoServe]) {
  describeIfFound(`the program on ${runtime.name}`, missingTools([runtime.tool]), () => {
    it("finishes the load that runs when it is told to stop, and exits with 0", { timeout: 60_000 }, async () => {
      const folder = await newFolder();
      const { child, url, ended, output } = await startProgram(runtime, { STOWAGE_STORE: `file:${folder}` });
      const load = await beginLoad(await url, await tarOf(makeLayout({ layers: [randomBytes(9_000_000)] })));
      await until(async () => ((await listFiles(join(folder, "blobs"))).length > 0 ? true : undefined));
      child.kill("SIGTERM");
      await until(() => (output().includes("Stopping") ? true : undefined));
      expect(await load.finish()).toBe("HTTP/1.1 201 Created");
      expect(await ended).toBe(0);
      expect(await listFiles(folder)).toContain("repositories/late/_layout/index.json");
    });

    it("ends the load that runs at a second signal, and leaves nothing of it", { timeout: 60_000 }, async () => {
      const folder = await newFolder();
      const { child, url, ended, output } = await startProgram(runtime, { STOWAGE_STORE: `file:${folder}` });
      const layer = randomBytes(30_000_000);
      const tarball = await tarOf(makeLayout({ layers: [layer] }));
      const load = await beginLoad(await url, Buffer.concat([tarball.subarray(0, 20_000_000), Buffer.alloc(512)]));
      await until(async () => ((await listFiles(join(folder, ".stowage/tmp"))).length > 0 ? true : undefined));
      child.kill("SIGINT");
      await until(() => (output().includes("Stopping") ? true : undefined));
      child.kill("SIGINT");
      await load.answer.catch(() => undefined);
      expect(await ended).toBe(0);
      expect(await listFiles(folder)).toEqual(["oci-layout"]);
    });

    it("exits with 2 and names every setting that cannot be used", { timeout: 60_000 }, async () => {
      const { ended, output } = await startProgram(runtime, { STOWAGE_STORE: "nowhere", HOST: "0.0.0.0" });
      expect(await ended).toBe(2);
      expect(output()).toContain('STOWAGE_STORE is "nowhere"');
      expect(output()).toContain('HOST is "0.0.0.0"');
    });
  });
}

const denoProgram = fileURLToPath(new URL("../../src/runtimes/deno.ts", import.meta.url));
const cronProgram = fileURLToPath(new URL("schedule-gc.ts", import.meta.url));
const cronStub = fileURLToPath(new URL("deno-cron-stub.ts", import.meta.url));

/** A program of Deno on a platform that has a timer. */
function withCron(program: string): RuntimeUnderTest {
  const command: RuntimeUnderTest["command"] = ({ tool }) => [tool, "run", "-A", `--preload=${cronStub}`, program];
  return { name: "deno with a timer", tool: "deno", store: "S3", command };
}

const deno = runtimes.find(({ name }) => name === "deno");
describeIfFound("the program on Deno Deploy", missingTools(["deno"]), () => {
  it("does not start without tokens, whatever HOST says", { timeout: 60_000 }, async () => {
    if (deno === undefined) throw new Error("expected deno among the runtimes");
    const settings = { STOWAGE_STORE: "memory:", HOST: "127.0.0.1", DENO_DEPLOYMENT_ID: "abc" };
    const { ended, output } = await startProgram(deno, settings);
    expect(await ended).toBe(2);
    expect(output()).toContain("Others can reach the service");
  });

  it("registers gc with the platform's timer, and nowhere else", { timeout: 60_000 }, async () => {
    const settings = { STOWAGE_STORE: "nowhere" };
    const deployed = await startProgram(withCron(denoProgram), { ...settings, DENO_DEPLOYMENT_ID: "abc" });
    expect(await deployed.ended, deployed.output()).toBe(2);
    expect(deployed.output()).toContain('registers "stowage gc" for */15 * * * *\n');
    const other = await startProgram(withCron(denoProgram), settings);
    expect(await other.ended, other.output()).toBe(2);
    expect(other.output()).not.toContain("registers");
  });

  it("collects garbage when it is triggered", { timeout: 60_000 }, async () => {
    const folder = await newFolder();
    const store = new DirectoryStore(folder);
    await loadArchive(openLayout(store), chunksOf(await tarOf(makeLayout()), 1000), { name: "team/app:1" });
    await updateRepository(openLayout(store), { repository: "team/app", changes: [{ op: "remove", tag: "1" }] });
    const settings = { STOWAGE_STORE: `file:${folder}`, STOWAGE_ALLOW_ANYONE: "true" };
    const { ended, output } = await startProgram(withCron(cronProgram), settings);
    expect(await ended, output()).toBe(0);
    expect(output()).toMatch(/gc, finished: condemned 3 blobs \(\d+ bytes\)\nwas triggered\n$/);
  });

  // In a network of its own: it listens where others could reach it.
  const canHide = process.getuid?.() === 0 ? [] : ["a network can be made by root alone"];
  describeIfFound("in a network of its own", [...missingPrograms("unshare"), ...canHide], () => {
    it("leaves requests 2 of the 5 seconds that it has to stop", { timeout: 60_000 }, async () => {
      if (deno === undefined) throw new Error("expected deno among the runtimes");
      const settings = { STOWAGE_STORE: "memory:", STOWAGE_TOKENS: "[]", DENO_DEPLOYMENT_ID: "abc" };
      const { child, url, ended, output } = await startProgram(deno, settings, ["unshare", "--net"]);
      await url;
      child.kill("SIGINT");
      expect(await ended).toBe(0);
      expect(output()).toContain("what runs may take 2 more seconds");
    });
  });
});

describeIfFound("npm run dev", missingTools(["node24"]), () => {
  it("serves from source", { timeout: 60_000 }, async () => {
    const command: RuntimeUnderTest["command"] = ({ tool }) => [tool, devScript, "--store", "memory:"];
    const { child, url, ended, output } = await startProgram({ name: "dev", tool: "node24", store: "S3", command }, {});
    expect(await (await fetch(`${await url}/healthz`)).text(), output()).toBe("ok\n");
    child.kill("SIGTERM");
    expect(await ended, output()).toBe(0);
  });
});
