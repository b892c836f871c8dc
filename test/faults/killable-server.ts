/** An S3 server that a test can kill. It starts again at once, at the same address and with the same objects. */
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeTestBucket, s3Environment } from "../servers/s3-bucket.ts";
import type { S3Server } from "../servers/s3-servers.ts";
import { until } from "../support/run-stowage.ts";
import { startService } from "../tools/start-service.ts";
import { freePortPairs } from "../infra/free-port.ts";

/** Says the id of each process that it starts. */
const startAgainAndAgain = `
  trap 'kill -KILL $child; exit' TERM
  while :; do
    versitygw --port "127.0.0.1:$1" --keep-alive --quiet posix "$2" >&2 & child=$!
    echo "process $child"
    wait $child
    sleep 0.1
  done
`;

export interface KillableServer {
  readonly server: S3Server;
  /** Kills it, and waits until it serves again. */
  readonly kill: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export async function startKillableServer(): Promise<KillableServer> {
  const folder = await mkdtemp(join(tmpdir(), "stowage-killed-store-"));
  const buckets = join(folder, "buckets");
  await mkdir(buckets);
  const [port = 0] = await freePortPairs(1);
  const [accessKeyId, secretAccessKey] = ["stowage", "stowage-secret"];
  const server = { name: "versitygw", endpoint: `http://127.0.0.1:${port}`, accessKeyId, secretAccessKey };
  const serves = async (): Promise<true | undefined> =>
    makeTestBucket(createS3Client(s3Environment(server))).then(
      () => true,
      () => undefined,
    );
  const service = await startService({
    command: ["bash", "-c", startAgainAndAgain, "versitygw", String(port), buckets],
    folder,
    env: { ROOT_ACCESS_KEY_ID: accessKeyId, ROOT_SECRET_ACCESS_KEY: secretAccessKey },
    ready: async () => ((await serves()) ? "" : undefined),
  });
  const processes = (): number[] => [...service.output().matchAll(/process (\d+)/g)].map(([, id]) => Number(id));
  return {
    server,
    stop: service.stop,
    kill: async () => {
      const before = processes();
      process.kill(before.at(-1) ?? 0, "SIGKILL");
      await until(() => (processes().length > before.length ? true : undefined), 60);
      await until(serves, 60);
    },
  };
}
