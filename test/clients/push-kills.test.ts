/** Clients that are killed while they push, and then push again. `STOWAGE_TEST_RUNS=20` kills each more often than twice. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { beforeAll, describe, expect, it } from "vitest";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { type FaultyProxy, startProxy } from "../cli/faulty-proxy.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { newFolder, serveStowage, stowage, until } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import {
  type PushClient,
  type PushLines,
  type PushTarget,
  digestAt,
  pushClients,
  pushLines,
  runPush,
} from "../tools/push-clients.ts";
import { toolEnvironment } from "../tools/run-tool.ts";
import { writeLargeContext } from "../tools/sample-image.ts";
import { type Environment, type Workshop, openWorkshop } from "../tools/workshop.ts";

const kills = Number(process.env["STOWAGE_TEST_RUNS"] ?? 2);
const mebibyte = 1024 * 1024;

/** The image has two layers of 30 MiB. The first kill comes before one of them is complete, the others come anywhere. */
const bytesBeforeKill = (killed: number): number => Math.random() * (killed === 0 ? 20 : 55) * mebibyte;

const acknowledged = makeLayout({ name: "team/before:1" });

let workshop: Workshop;

beforeAll(async () => {
  workshop = await openWorkshop(writeLargeContext);
  return workshop.close;
});

describe("killed while it pushes into a directory,", () => {
  testKills(pushClients, async () => `file:${await newFolder()}`, {});
});

await describeS3Servers(
  "killed while it pushes into a bucket,",
  (server) => {
    // Streams, chunks and whole blobs.
    const names = ["docker push, 20.10", "crane push", "regctl image copy, in chunks", "oras push"];
    const open = async (): Promise<string> => {
      await makeTestBucket(createS3Client(s3Environment(server)));
      return `s3://${testBucket}/kills/${crypto.randomUUID()}`;
    };
    testKills(
      pushClients.filter(({ name }) => names.includes(name)),
      open,
      s3Environment(server),
    );
  },
  ["versitygw"],
);

function testKills(clients: readonly PushClient[], open: () => Promise<string>, env: Environment): void {
  for (const client of clients) {
    describeIfFound(client.name, missingTools(["bash", ...client.needs]), () => {
      it("pushes again, and nothing is lost", { timeout: 120_000 + kills * 30_000 }, async () => {
        const prepared = { env: await client.prepare(workshop), cwd: await workshop.newFolder() };
        const store = await open();
        const service = await serveStowage(["--store", store], env);
        const loaded = await fetch(`${service.url}/v1/load`, { method: "PUT", body: await tarOf(acknowledged) });
        expect(loaded.status).toBe(201);
        const proxy = await startProxy(service.url);
        const target: PushTarget = { host: new URL(proxy.url).host, name: "team/app", tag: "1.4.0" };
        const lines = pushLines({ push: client.push }, target, prepared);

        const outcomes: string[] = [];
        for (let killed = 0; killed < kills; killed++) {
          outcomes.push(await pushUntil(bytesBeforeKill(killed), lines, proxy));
          await expectBlobs(acknowledgedBlobs(proxy), service.url);
        }
        expect(outcomes[0]).toBe("killed");

        expect(await runPush(lines)).toBe(await digestAt(target));
        await expectBlobs(acknowledgedBlobs(proxy), service.url);
        const before = { host: new URL(service.url).host, name: "team/before", tag: "1" };
        expect(await digestAt(before)).toBe(acknowledged.digest);
        expect(await stowage(["verify", "--store", store], { env })).toMatchObject({ code: 0 });
        service.kill("SIGTERM");
        expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
      });
    });
  }
}

/** Kills a push when it has sent so many bytes. */
async function pushUntil(bytes: number, { script, cwd, env }: PushLines, proxy: FaultyProxy): Promise<string> {
  const since = proxy.seen.length;
  const child = spawn("bash", ["-o", "pipefail", "-euc", script], {
    cwd,
    env: toolEnvironment(env),
    detached: true, // a process group of its own
    stdio: "ignore",
  });
  const ended = once(child, "close");
  const sent = (): number => proxy.seen.slice(since).reduce((sum, request) => sum + request.bytes, 0);
  await until(() => (sent() >= bytes || child.exitCode !== null ? true : undefined), 120);
  if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  await ended;
  if (child.exitCode !== null) expect(child.exitCode).toBe(0);
  return child.exitCode === null ? "killed" : "ended";
}

/** The digests of the blobs that were answered with 201. */
function acknowledgedBlobs({ seen }: FaultyProxy): string[] {
  return seen
    .filter(({ path, status }) => path.includes("/blobs/uploads/") && status === 201)
    .map(({ path }) => new URL(path, "http://proxy").searchParams.get("digest") ?? "");
}

async function expectBlobs(digests: readonly string[], url: string): Promise<void> {
  for (const digest of digests) {
    const { status } = await fetch(`${url}/v2/team/app/blobs/${digest}`, { method: "HEAD" });
    expect(status, digest).toBe(200);
  }
}
