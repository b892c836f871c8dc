/** Real servers that do not keep the conditions of writes, and what Stowage says of them: nothing is published there. */
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { beforeAll, expect, it } from "vitest";
import { probeStore } from "../../src/layout/probe-store.ts";
import { createS3Client } from "../../src/storage/s3/s3-client.ts";
import { makeS3Store, makeTestBucket, s3Environment, testBucket } from "../servers/s3-bucket.ts";
import { type S3Server, carelessServerNames, describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { serveStowage, stowage } from "../support/run-stowage.ts";

/** Each probe refuses by itself: what races must catch is caught again and again. */
const probes = 10;

const alone = "If-None-Match: it took a write whose condition did not hold";
const inRace = "(?:If-None-Match|If-Match): in a race 2 of 2 writers won, expected 1";
const faults: Readonly<Record<string, string>> = { fauxqs: alone, s3rver: alone, moto: inRace };

await describeS3Servers(
  "a store that ignores conditions,",
  (server) => {
    const env = s3Environment(server);
    const fault = faults[server.name] ?? "";

    beforeAll(async () => makeTestBucket(createS3Client(env)));

    it(`is refused by each of ${probes} probes, which leave nothing behind`, async () => {
      for (let i = 0; i < probes; i += 1) {
        const store = await makeS3Store(server);
        await expect(probeStore(store)).rejects.toMatchObject({
          code: "STORE_UNAVAILABLE",
          message: expect.stringMatching(refusalOf(store.url, fault)),
          detail: { store: store.url, condition: expect.stringMatching(/^If-(None-)?Match$/) },
        });
        expect(await keysBelow(server, store.url)).toEqual([]);
      }
    });

    it("is refused by the command line, which publishes nothing", async () => {
      const store = newStoreUrl();
      const image = await tarOf(makeLayout({ layers: [randomBytes(1000)], name: "team/app:1.4" }));
      const outcome = await stowage(["load", "-", "--store", store], { env, input: image });
      const [, said = ""] = outcome.stderr.split("stowage load: ");
      expect(said).toMatch(refusalOf(store, fault));
      expect(outcome).toMatchObject({ code: 1, stdout: "" });
      expect(await keysBelow(server, store)).toEqual([]);
    });

    it("is refused by the service, which publishes nothing and goes on to read", async () => {
      const store = newStoreUrl();
      const image = await tarOf(makeLayout({ layers: [randomBytes(1000)], name: "team/app:1.4" }));
      const service = await serveStowage([], { ...env, STOWAGE_STORE: store });
      const loaded = await fetch(`${service.url}/v1/load`, { method: "PUT", body: new Uint8Array(image) });
      const pulled = await fetch(`${service.url}/v2/team/app/manifests/1.4`);
      service.kill("SIGTERM");
      expect(loaded.status).toBe(503);
      expect(await loaded.json()).toMatchObject({
        errors: [
          { code: "STORE_UNAVAILABLE", message: expect.stringMatching(refusalOf(store, fault)), detail: { store } },
        ],
      });
      expect(pulled.status).toBe(404);
      await service.outcome;
      expect(await keysBelow(server, store)).toEqual([]);
    });
  },
  carelessServerNames,
);

function refusalOf(store: string, fault: string): RegExp {
  return new RegExp(`^Cannot use ${store}: it ignores ${fault}. Images loaded at the same time would be lost$`, "m");
}

function newStoreUrl(): string {
  return `s3://${testBucket}/careless/${crypto.randomUUID()}`;
}

/** Also below what the store lists as its own. */
async function keysBelow(server: S3Server, store: string): Promise<string[]> {
  const input = { Bucket: testBucket, Prefix: store.slice(`s3://${testBucket}/`.length) };
  const { Contents = [] } = await createS3Client(s3Environment(server)).send(new ListObjectsV2Command(input));
  return Contents.map(({ Key = "" }) => Key);
}
