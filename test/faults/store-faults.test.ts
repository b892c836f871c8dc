/**
 * Harm to the requests that Stowage sends to a real S3 server. After each: what was acknowledged is there and whole, and trying
 * again ends well. `STOWAGE_TEST_RUNS=20` tries every request of a load, and makes the last test longer.
 */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { createApp } from "../../src/http/app.ts";
import type { S3Store } from "../../src/storage/s3/s3-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { seededRandom } from "../commit/scheduler.ts";
import { copyBetween, imagesOf } from "../copy/copying.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { checkPull, puller } from "../support/check-pull.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { withService } from "../support/serve-app.ts";
import { faults, stalls } from "./fault-proxy.ts";
import { type StoreBench, isUnavailable, openStoreBench } from "./harmed-store.ts";
import { Ledger } from "./ledger.ts";
import { Traffic } from "./traffic.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 1);
const seed = Number(process.env["STOWAGE_TEST_SEED"] ?? 1);

await describeS3Servers(
  "Stowage, with harm to its requests to the store,",
  (server) => {
    let bench: StoreBench;
    beforeEach(async () => {
      bench = await openStoreBench(server);
    });
    afterEach(() => bench.proxy.close());

    it.each(faults)("loses nothing if one request of a load meets it: %s", { timeout: 240_000 }, async (fault) => {
      bench.choose = () => undefined;
      expect(await load(bench.harmed, "count", 0)).toBe(201);
      const requests = bench.proxy.requests();
      expect(requests).toBeGreaterThan(8);
      let acknowledged = 0;
      // In a quick run, every fourth request, and others for the next fault. A flipped bit must meet a part of a large layer.
      const step = runs > 1 || fault === "flip a bit of the request" ? 1 : 4;
      for (let at = faults.indexOf(fault) % step; at < requests; at += step) {
        const first = bench.proxy.requests();
        bench.choose = (number) => (number === first + at ? fault : undefined);
        const status = await load(bench.harmed, `image-${at}`, at + 1);
        expect([200, 201, 503], `${fault} at request ${at}`).toContain(status);
        if (status === 503) expect(await load(bench.harmed, `image-${at}`, at + 1), "tried again").toBeLessThan(300);
        acknowledged++;
      }
      await expectWhole(bench.store, acknowledged + 1);
      expect((await imagesOf(bench.store)).length).toBe(acknowledged + 1);
    });

    const all = "loses nothing if every tenth request meets one of them, in loads, pushes, copies, deletions and gcs";
    it(all, { timeout: 120_000 + runs * 60_000 }, async () => {
      const target = await bench.open();
      const random = seededRandom(seed);
      const [ledger, copied] = [new Ledger(), new Ledger()];
      const copy = async (name: string): Promise<boolean> => {
        const copying = copyBetween(bench.harmed, target.harmed, { patterns: [name] });
        return copying.then(({ failures }) => failures.length === 0, isUnavailable);
      };
      await withService(bench.harmed, async (url) => {
        const traffic = new Traffic({ ledger, copied, random, copy, url: () => url });
        const harms = [...faults, ...stalls];
        for (let round = 0; round < runs * 3; round++) {
          bench.choose = () => (random() < 0.1 ? harms[Math.floor(random() * harms.length)] : undefined);
          let isOver = false;
          const clients = traffic.run(["load", "load", "push", "push", "delete", "copy"], () => isOver);
          for (const store of [bench.harmed, target.harmed]) {
            await sleep(1000);
            await collectGarbage(openLayout(store)).catch(isUnavailable);
          }
          isOver = true;
          await clients;
          bench.choose = () => undefined;
          expect(await traffic.tryAgain(), `seed ${seed}, tried again`).toEqual([]);
          await ledger.check(bench.store, `seed ${seed}`);
          await copied.check(target.store, `seed ${seed}, copies`);
        }
      });
    });
  },
  ["versitygw"],
);

/** Loads an image with a layer of two parts and two small ones. Returns the status. */
async function load(store: S3Store, name: string, number: number): Promise<number> {
  const layers = [randomBytes(6_000_000, number), randomBytes(50_000, number + 10_000)];
  const body = await tarOf(makeLayout({ layers, name: `team/${name}:1`, label: name }));
  return ask(store, "PUT", "/v1/load", body);
}

async function ask(store: S3Store, method: string, path: string, body?: Uint8Array): Promise<number> {
  const app = createApp({ layout: openLayout(store), access: "anyone" });
  const response = await app.request(path, { method, body: (body as Uint8Array<ArrayBuffer> | undefined) ?? null });
  const text = await response.text();
  if (response.status >= 400) expect(JSON.parse(text), "an error with a code").toMatchObject({ errors: [{}] });
  return response.status;
}

/** Nothing in the store is wrong, and each image can be pulled. */
async function expectWhole(store: S3Store, least: number): Promise<void> {
  expect((await verifyStore(openLayout(store))).problems).toEqual([]);
  const pull = puller(store);
  const images = await imagesOf(store);
  expect(images.length).toBeGreaterThanOrEqual(least);
  for (const image of images) {
    const [, repository = "", reference = "", digest = ""] = /^(.*):(\S+) (sha256:\S+)$/.exec(image) ?? [];
    const top = await pull(repository, `manifests/${reference}`);
    await checkPull({ repository, reference, digest, size: top?.length ?? 0 } as never, pull);
  }
}
