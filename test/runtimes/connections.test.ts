/** What the service does with connections, as a process of Node, Deno and Bun: none of them may cost it anything once closed. */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { randomBytes, sha256 } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, until } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { type Program, startProgram } from "./start-program.ts";
import { type RuntimeUnderTest, runtimes } from "./start-runtime.ts";

const names = ["node 20", "node 24", "node 26", "deno", "bun"];
const layer = randomBytes(16_000_000);
const tarball = await tarOf(makeLayout({ layers: [layer], name: "team/app:1" }));
const blobPath = `/v2/team/app/blobs/${sha256(layer)}`;

/** Node and the others raise their own limit as far as they may. */
const fewDescriptors = ["bash", "-c", 'ulimit -Sn 1024 && ulimit -Hn 1024 && exec "$@"', "bash"];

// Side by side, since most of them wait most of the time.
describe.concurrent("connections", () => {
  for (const runtime of runtimes.filter(({ name }) => names.includes(name))) {
    const missing = missingTools([runtime.tool, "bash"]);
    describeIfFound(`of the service on ${runtime.name}`, missing, () => testConnections(runtime));
  }
});

/** Says in how many turns of the event loop the service has accepted a hundred connections. */
const countTurns = `import { subscribe } from "node:diagnostics_channel";
  let turns = 0;
  let accepted = 0;
  const turn = () => (turns++, accepted < 100 && setImmediate(turn));
  subscribe("net.server.socket", () => {
    if (++accepted === 1) turn();
    if (accepted === 100) console.log(turns + " turns");
  });`;

describeIfFound("a service to which many clients connect", missingTools(["node24"]), () => {
  it("accepts several connections in one turn of its event loop", { timeout: 90_000 }, async () => {
    const runtime = runtimes.find(({ name }) => name === "node 24");
    if (runtime === undefined) throw new Error("expected a runtime of this name");
    const settings = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(countTurns)}` };
    await serving({ runtime, store: `file:${await newFolder()}`, settings }, async (url, { child, output }) => {
      child.kill("SIGSTOP"); // the system takes the connections meanwhile
      const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
      const sockets = Array.from({ length: 100 }, () => say(url, request));
      await Promise.all(sockets.map(async (socket) => once(socket, "connect")));
      child.kill("SIGCONT");
      const answers = sockets.map(async (socket) => (await socket.setEncoding("utf8").toArray()).join(""));
      for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^HTTP\/1.1 200 /);
      const turns = await until(() => /(\d+) turns/.exec(output())?.[1]);
      expect(Number(turns)).toBeLessThan(60); // with one listener there are a hundred
    });
  });
});

function testConnections(runtime: RuntimeUnderTest): void {
  it.each([
    ["pulls", blobPath],
    ["exports", "/v1/export/team/app:1"],
  ])("close what their %s have opened when they are hung up on", { timeout: 90_000 }, async (_what, path) => {
    const get = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    await serving({ runtime, store: `file:${await newFolder()}` }, async (url, { child }) => {
      const openFiles = (): number => readdirSync(`/proc/${child.pid}/fd`).length;
      expect((await fetch(`${url}/v1/load`, { method: "PUT", body: tarball })).status).toBe(201);
      const before = openFiles();
      for (let round = 0; round < 3; round++) {
        const sockets = Array.from({ length: 20 }, (_, i) => say(url, get.repeat(i % 2 === 0 ? 1 : 50)).pause());
        await eventually(() => openFiles() >= before + 20, `more open files than ${before + 20}`);
        for (const socket of sockets) socket.destroy();
        await eventually(() => openFiles() <= before + 5, `as few open files as at first, ${before}`);
      }
      const blob = await fetch(url + blobPath);
      expect(Buffer.from(await blob.arrayBuffer()).equals(layer)).toBe(true);
      expect(child.exitCode).toBeNull();
    });
  });

  it("stay open between two requests for longer than seven seconds", { timeout: 90_000 }, async () => {
    await serving({ runtime }, async (url) => {
      const request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
      const socket = say(url, request);
      const heard = listen(socket);
      await eventually(() => heard().includes("200 OK"), "an answer");
      await sleep(7000);
      socket.write(request);
      await eventually(() => heard().split("200 OK").length === 3 || socket.destroyed, "another answer");
      expect(socket.destroyed).toBe(false);
      socket.destroy();
    });
  });

  it("close some time after their last request", { timeout: 90_000 }, async () => {
    await serving({ runtime, settings: { STOWAGE_KEEP_ALIVE_SECONDS: "1" } }, async (url) => {
      const socket = say(url, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
      const heard = listen(socket);
      await eventually(() => heard().includes("200 OK") && socket.destroyed, "an answer, and then the end");
    });
  });

  it("speak HTTP/1.0 without a Host, as health checks do", { timeout: 90_000 }, async () => {
    await serving({ runtime }, async (url) => {
      const heard = listen(say(url, "GET /healthz HTTP/1.0\r\n\r\n"));
      await eventually(() => heard().includes("ok\n"), "an answer");
      expect(heard()).toMatch(/^HTTP\/1\.[01] 200 OK/);
    });
  });

  it(
    "let a client that is refused while it sends find its answer, also if it looks late",
    { timeout: 90_000 },
    async () => {
      await serving({ runtime }, async (url) => {
        const socket = say(
          url,
          "PUT /v1/load/Team/App HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
        ).pause();
        for (let i = 0; i < 25; i++) {
          await new Promise((resolve) => socket.write(Buffer.alloc(50_000), resolve));
          await sleep(100);
        }
        expect(socket.destroyed).toBe(false);
        const heard = listen(socket.resume());
        await eventually(() => heard().includes("NAME_INVALID"), "the error");
        socket.destroy();
      });
    },
  );

  it("are taken again after descriptors had run out", { timeout: 120_000 }, async () => {
    await serving({ runtime, runner: fewDescriptors }, async (url, { child }) => {
      const halves = Array.from({ length: 1100 }, () => say(url, "GET /healthz HTTP/1.1\r\nHo"));
      await sleep(2000);
      for (const socket of halves) socket.destroy();
      await eventually(async () => {
        const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
        return answer?.status === 200;
      }, "an answer");
      expect(child.exitCode).toBeNull();
    });
  });
}

interface Serving {
  readonly runtime: RuntimeUnderTest;
  readonly store?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly runner?: readonly string[];
}

/** Starts a program, and expects that it ends in order afterwards. */
async function serving(
  { runtime, store = "memory:", settings, runner }: Serving,
  use: (url: string, program: Program) => Promise<void>,
): Promise<void> {
  const program = await startProgram(runtime, { STOWAGE_STORE: store, ...settings }, runner);
  await use(await program.url, program).catch((error: unknown) => {
    if (error instanceof Error) error.message += `\n\nThe service said:\n${program.output().slice(-2000)}`;
    throw error;
  });
  program.child.kill("SIGTERM");
  expect(await program.ended, program.output().slice(-2000)).toBe(0);
}

function say(url: string, text: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname).on("error", () => undefined);
  socket.write(text);
  return socket;
}

function listen(socket: Socket): () => string {
  let heard = "";
  socket.on("data", (bytes: Buffer) => (heard += bytes.toString("latin1")));
  return () => heard;
}

async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const deadline = Date.now() + 40_000; !(await holds()); await sleep(50)) {
    if (Date.now() > deadline) throw new Error(`waited forty seconds for this: ${what}`);
  }
}
