/** Copies that are killed again and again. `STOWAGE_TEST_RUNS=20` kills more often than three times. */
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { fill, imagesOf } from "../copy/copying.ts";
import { makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { joinLayouts, makeLayout } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { newFolder, startCommand, stowage, until } from "../support/run-stowage.ts";

const kills = Number(process.env["STOWAGE_TEST_RUNS"] ?? 3);

/** Eight repositories with a large blob each, several small ones, and one that all share. */
const images = joinLayouts(
  ...Array.from({ length: 8 }, (_, i) => {
    const small = Array.from({ length: 12 }, (__, k) => randomBytes(100_000 + k, 100 * i + k));
    const layers = [randomBytes(9_000_000, 7), randomBytes(6_000_000, i + 50), ...small];
    return makeLayout({ layers, name: `team/app${i}:1`, label: `${i}` });
  }),
);

interface Place {
  readonly url: string;
  readonly store: ObjectStore;
}

interface Places {
  readonly from: Place;
  /** A store that is not there yet. */
  readonly open: () => Promise<Place>;
  readonly env: Readonly<Record<string, string>>;
}

/** Kills copies at random moments, until one target after the other is whole. */
async function killCopies({ from, open, env }: Places, args: readonly string[]): Promise<void> {
  await fill(from.store, images);
  const expected = await imagesOf(from.store);
  let killed = 0;
  let longestMs = 1000;
  while (killed < kills) {
    const to = await open();
    for (;;) {
      const running = await startCommand(["copy", from.url, to.url, "--concurrency", "4", ...args], { env });
      let isOver = false;
      const outcome = running.outcome.finally(() => (isOver = true));
      await until(() => (isOver || running.stderr().includes("Copying") ? true : undefined), 60);
      const began = Date.now();
      if (killed < kills) {
        await Promise.race([sleep(Math.random() * longestMs), outcome]);
        running.kill("SIGKILL");
      }
      const { code, stderr } = await outcome;
      const { problems } = await verifyStore(openLayout(to.store));
      expect(problems, `after ${killed} kills: ${stderr}`).toEqual([]);
      if (code === 0) break;
      expect(code, stderr).toBe(null);
      killed++;
      longestMs = Math.max(longestMs, Date.now() - began);
    }
    expect(await imagesOf(to.store)).toEqual(expected);
    expect(await stowage(["verify", "--store", to.url], { env })).toMatchObject({ code: 0 });
  }
}

const timeout = 120_000 + kills * 30_000;

describe("stowage copy, killed at random moments", () => {
  it("leaves no index in a directory that names what is not there, and ends whole", { timeout }, async () => {
    const folder = await newFolder();
    const place = (name: string): Place => {
      const path = join(folder, name);
      return { url: `file:${path}`, store: new DirectoryStore(path) };
    };
    let count = 0;
    await killCopies({ from: place("from"), open: async () => place(`to${count++}`), env: {} }, []);
  });
});

await describeS3Servers(
  "stowage copy, killed at random moments,",
  (server) => {
    it.each([["auto"], ["stream"]])(
      "leaves no index in a bucket that names what is not there: --copy %s",
      { timeout },
      async (mode) => {
        const env = s3Environment(server);
        const client = createS3Client(env);
        await makeTestBucket(client);
        const open = async (): Promise<Place> => {
          const prefix = `tests/${crypto.randomUUID()}`;
          return { url: `s3://${testBucket}/${prefix}`, store: new S3Store({ client, bucket: testBucket, prefix }) };
        };
        await killCopies({ from: await open(), open, env }, ["--copy", mode]);
      },
    );
  },
  ["versitygw"],
);
