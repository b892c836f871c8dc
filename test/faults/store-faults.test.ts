/**
 * Harm to the requests that Stowage sends to a real S3 server. After each: what was acknowledged is there and whole, and trying
 * again ends well. `STOWAGE_TEST_RUNS=20` tries every request of a load, and makes the last test longer.
 */
import process from "node:process";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { collectGarbage } from "../../src/gc/collect-garbage.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { S3Store } from "../../src/storage/s3/s3-store.ts";
import { verifyStore } from "../../src/verify/verify-store.ts";
import { imagesOf } from "../copy/copying.ts";
import { makeS3Store, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { checkPull, puller } from "../support/check-pull.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { openLayout } from "../support/open-layout.ts";
import { type Fault, type FaultProxy, faults, startFaultProxy } from "./fault-proxy.ts";

const runs = Number(process.env["STOWAGE_TEST_RUNS"] ?? 1);
/** Parts to another machine are signed. Linux connects this address to this machine, but it does not look like this machine. */
const farHost = "0.0.0.0";

interface Bench {
  /** The store without harm. */
  readonly store: S3Store;
  /** The store through the proxy. */
  readonly harmed: S3Store;
  readonly proxy: FaultProxy;
  /** The next requests get these faults. */
  choose: (number: number) => Fault | undefined;
}

await describeS3Servers(
  "Stowage, with harm to its requests to the store,",
  (server) => {
    let bench: Bench;
    beforeEach(async () => {
      bench = await openBench(server);
    });
    afterEach(() => bench.proxy.close());

    it.each(faults)("loses nothing if one request of a load meets it: %s", { timeout: 240_000 }, async (fault) => {
      bench.choose = () => undefined;
      expect(await load(bench.harmed, "count", 0)).toBe(201);
      const requests = bench.proxy.requests();
      expect(requests).toBeGreaterThan(8);
      let acknowledged = 0;
      // In a quick run, every second request, and the others for the next fault. A flipped bit must meet a part of a large layer.
      const step = runs > 1 || fault === "flip a bit of the request" ? 1 : 2;
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

    it(
      `loses nothing if every tenth request meets one of them, in loads, deletions and gcs`,
      {
        timeout: 120_000 + runs * 60_000,
      },
      async () => {
        const kept = new Set<string>();
        const gone = new Set<string>();
        let seed = 1;
        const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
        bench.choose = () => (random() < 0.1 ? faults[Math.floor(random() * faults.length)] : undefined);
        for (let round = 0; round < runs * 5; round++) {
          const names = [0, 1, 2, 3].map((i) => `round-${round}-${i}`);
          const statuses = await Promise.all(
            names.map(async (name, i) => load(bench.harmed, name, 100 + round * 4 + i)),
          );
          for (const [i, name] of names.entries()) if ((statuses[i] ?? 500) < 300) kept.add(name);
          const victim = [...kept][Math.floor(random() * kept.size)];
          if (victim !== undefined && round % 2 === 1) {
            kept.delete(victim);
            if ((await ask(bench.harmed, "DELETE", `/v2/team/${victim}/manifests/1`)) === 202) gone.add(victim);
          }
          await collectGarbage(openLayout(bench.harmed)).catch(() => undefined);
        }
        bench.choose = () => undefined;
        await expectWhole(bench.store, 0);
        const images = (await imagesOf(bench.store)).map((image) => image.slice("team/".length, image.indexOf(":")));
        expect(
          [...kept].filter((name) => !images.includes(name)),
          "acknowledged, and lost",
        ).toEqual([]);
        expect(
          [...gone].filter((name) => images.includes(name)),
          "deleted, and back",
        ).toEqual([]);
      },
    );
  },
  ["versitygw"],
);

async function openBench(server: S3Server): Promise<Bench> {
  const store = await makeS3Store(server);
  const bench: { choose: Bench["choose"] } = { choose: () => undefined };
  const proxy = await startFaultProxy(Number(new URL(server.endpoint).port), (number) => bench.choose(number));
  const client = createS3Client({
    ...s3Environment(server),
    AWS_ENDPOINT_URL_S3: `http://${farHost}:${proxy.port}`,
  });
  const prefix = store.url.slice(`s3://${testBucket}/`.length);
  return Object.assign(bench, { store, proxy, harmed: new S3Store({ client, bucket: testBucket, prefix }) });
}

/** Loads an image with a layer of two parts and two small ones. Returns the status. */
async function load(store: S3Store, name: string, seed: number): Promise<number> {
  const layers = [randomBytes(6_000_000, seed), randomBytes(50_000, seed + 10_000)];
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
