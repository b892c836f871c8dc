/**
 * An S3 server that is killed with SIGKILL, and started again, at random moments of loads, pushes, copies and deletions.
 * `STOWAGE_TEST_RUNS=50` kills more often than five times.
 */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { seededRandom } from "../commit/scheduler.ts";
import { copyBetween } from "../copy/copying.ts";
import { makeS3Store, s3Environment } from "../servers/s3-bucket.ts";
import { describeIfFound } from "../support/requirement.ts";
import { serveStowage } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { isUnavailable } from "./harmed-store.ts";
import { startKillableServer } from "./killable-server.ts";
import { Ledger } from "./ledger.ts";
import { Traffic } from "./traffic.ts";

const kills = Number(process.env["STOWAGE_TEST_RUNS"] ?? 5);
const seed = Number(process.env["STOWAGE_TEST_SEED"] ?? Date.now() % 2 ** 31);

describeIfFound("Stowage, whose S3 server is killed and started again,", missingTools(["bash", "versitygw"]), () => {
  it("loses nothing, and goes on", { timeout: 90_000 + kills * 30_000 }, async () => {
    const { server, kill, stop } = await startKillableServer();
    try {
      const [main, target] = [await makeS3Store(server), await makeS3Store(server)];
      const service = await serveStowage(["--store", main.url], s3Environment(server));
      const random = seededRandom(seed);
      const [ledger, copied] = [new Ledger(), new Ledger()];
      const copy = async (name: string): Promise<boolean> =>
        copyBetween(main, target, { patterns: [name] }).then(({ failures }) => failures.length === 0, isUnavailable);
      const traffic = new Traffic({ ledger, copied, random, copy, url: () => service.url });
      for (let killed = 1; killed <= kills; killed++) {
        let isOver = false;
        const clients = traffic.run(["load", "load", "push", "push", "delete", "copy"], () => isOver);
        await sleep(random() * 2000);
        await kill();
        isOver = true;
        await clients;
        const where = `seed ${seed}, ${killed} kills`;
        expect(await traffic.tryAgain(), `${where}, tried again`).toEqual([]);
        await ledger.check(main, where);
        await copied.check(target, `${where}, copies`);
      }
    } finally {
      await stop();
    }
  });
});
