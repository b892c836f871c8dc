/**
 * Two services work on one bucket. One of them has a wrong clock, and so has a gc. Clocks of machines may differ by ten minutes.
 * They may not differ by a day: a gc relies on marks that other gcs have dated. So all gcs of that test have the same clock.
 */
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { seededRandom } from "../commit/scheduler.ts";
import { makeS3Store, s3Environment } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { serveStowage, stowage } from "../support/run-stowage.ts";
import { Ledger } from "./ledger.ts";
import { Traffic } from "./traffic.ts";

const minute = 60_000;
const day = 24 * 60 * minute;
const preload = fileURLToPath(new URL("../commit/skew-clock.cjs", import.meta.url));

await describeS3Servers(
  "Stowage, with a clock that differs from those of its store and of another service,",
  (server) => {
    it.each([10 * minute, -10 * minute, day, -day])("by %i ms, loses nothing", { timeout: 120_000 }, async (skewMs) => {
      const [store, target] = [await makeS3Store(server), await makeS3Store(server)];
      const env = s3Environment(server);
      const wrong = { ...env, NODE_OPTIONS: `--require ${preload}`, SKEW_MS: String(skewMs) };
      const services = [
        await serveStowage(["--store", store.url], env),
        await serveStowage(["--store", store.url], wrong),
      ];
      const random = seededRandom(1);
      const [ledger, copied] = [new Ledger(), new Ledger()];
      const url = (): string => services[random() < 0.5 ? 0 : 1]?.url ?? "";
      const copy = async (name: string): Promise<boolean> => {
        const outcome = await stowage(["copy", store.url, target.url, name], { env: wrong });
        expect(outcome).toMatchObject({ code: 0 });
        return true;
      };
      const traffic = new Traffic({ ledger, copied, random, copy, url });
      let isOver = false;
      const clients = traffic.run(["load", "load", "push", "push", "delete", "copy"], () => isOver);
      await sleep(1000);
      const gcs = Math.abs(skewMs) < day ? [wrong, env, wrong] : [wrong, wrong];
      for (const clock of gcs) {
        expect(await stowage(["gc", "--store", store.url, "--grace", "1h"], { env: clock })).toMatchObject({ code: 0 });
      }
      isOver = true;
      await clients;
      expect(await traffic.tryAgain()).toEqual([]);
      await ledger.check(store, "at the end");
      await copied.check(target, "at the end, copies");
      for (const service of services) {
        service.kill("SIGTERM");
        expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
      }
    });
  },
  ["versitygw"],
);
